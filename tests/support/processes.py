"""Real nodes in processes of their own."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support.forked import ForkedProcess

START_SECONDS = 60.0
STOP_SECONDS = 60.0


class NodeProcess:
    """`engram-store serve`, started and listening, by the command `prefix` if one is given.

    Without one it is forked from a process that has imported what it needs, unless it is to be a fresh one: for who
    looks at its memory or its command line.
    """

    def __init__(
        self,
        root: Path,
        *options: str,
        listen: str = "127.0.0.1:0",
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        is_fresh: bool = False,
    ) -> None:
        arguments = ["serve", str(root), "--listen", listen, *options]
        env = {**os.environ, **(environment or {})}
        self.process: ForkedProcess | subprocess.Popen[str] = (
            _started([*prefix, sys.executable, "-m", "store_server", *arguments], env)
            if prefix or is_fresh
            else ForkedProcess(arguments, env)
        )
        self._log: list[str] = []
        self._log_grew = threading.Condition()
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._readers = [threading.Thread(target=self._read_log), threading.Thread(target=self._read_lines)]
        for reader in self._readers:
            reader.start()
        try:
            self.address = self._wait_until_it_listens()
        except BaseException:  # Ctrl-C, too: nobody else knows of the process yet
            self.process.kill()
            self.wait()
            raise

    @property
    def url(self) -> str:
        return self.address if self.address.startswith("unix:") else f"grpc://{self.address}"

    @property
    def log(self) -> str:
        """What came on standard error so far; all of it once the process has ended."""
        return "".join(self._log)

    def logged(self, text: str) -> bool:
        """Wait until the log holds `text`."""
        with self._log_grew:
            return self._log_grew.wait_for(lambda: text in self.log, START_SECONDS)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit code."""
        self.process.send_signal(signal_number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(STOP_SECONDS)
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        return code

    def _wait_until_it_listens(self) -> str:
        try:
            line = self._lines.get(timeout=START_SECONDS)
        except queue.Empty:
            line = None
        if line is None or not line.startswith("listening on "):
            self.process.kill()
            raise AssertionError(f"the node did not start: {line!r}, exit {self.wait()}\n{self.log}")
        return line.removeprefix("listening on ").strip()

    def _read_log(self) -> None:
        for line in self.process.stderr:
            with self._log_grew:
                self._log.append(line)
                self._log_grew.notify_all()
        self.process.stderr.close()

    def _read_lines(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)
        self.process.stdout.close()


def _started(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    # gRPC logs what it was sent, in whatever bytes; a log that is read no more would stop the node.
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "backslashreplace"}
    return subprocess.Popen(command, env=env, **output)


@contextlib.contextmanager
def node_process(
    root: Path,
    *options: str,
    listen: str = "127.0.0.1:0",
    environment: Mapping[str, str] | None = None,
    is_fresh: bool = False,
) -> Iterator[NodeProcess]:
    """Run a node as long as the block lasts, with these variables added; it may have ended before."""
    node = NodeProcess(root, *options, listen=listen, environment=environment, is_fresh=is_fresh)
    try:
        yield node
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.wait()
