"""A peer's server in a process that is started, waited for and ended."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


def free_port() -> int:
    """A port that nobody listens on now, for servers that cannot pick one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A command that prints a line when it is ready; `ready` is what that line says after "ready "."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, env={**os.environ, **(environment or {})}
            )
        self.pid = self._process.pid
        try:
            self.ready = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @classmethod
    def of_module(cls, module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None):
        """Run one of the servers beside this file."""
        return cls([sys.executable, "-m", f"bench.store_bench.subjects.{module}", *arguments], log, environment)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)
        self._process.stdout.close()

    def _wait_until_ready(self) -> str:
        said = b""
        while select.select([self._process.stdout], [], [], _START_SECONDS)[0]:
            some = os.read(self._process.stdout.fileno(), 4096)
            said += some
            for line in said.decode(errors="replace").splitlines(keepends=True):
                if line.startswith("ready") and line.endswith("\n"):
                    return line.removeprefix("ready").strip()
            if not some:
                break
        raise RuntimeError(f"{self._process.args[0:4]} did not become ready; its log:\n{self._log.read_text()[-2000:]}")
