"""Nodes forked from one process that has imported all they need: see `zygote`."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from support.environment import with_tests

_START_SECONDS = 60.0


class ForkedProcess:
    """`engram-store ARGUMENTS` in a process of its own; has what is used here of subprocess.Popen."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stdout, stdout = _pipe()
        self.stderr, stderr = _pipe()
        request = {"arguments": list(arguments), "environment": dict(environment), "directory": str(Path.cwd())}
        try:
            files = [theirs.fileno(), stdout, stderr]
            socket.send_fds(_zygote(), [json.dumps(request).encode()], files)
        finally:
            theirs.close()
            os.close(stdout)
            os.close(stderr)
        self._answers.settimeout(_START_SECONDS)
        self.pid = int(self._answers.recv(64))
        self._pidfd = os.pidfd_open(self.pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status once the process has ended."""
        return self._end(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._end(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(["engram-store"], timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and whoever forked it is about to say so
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(15)

    def kill(self) -> None:
        self.send_signal(9)

    def _end(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._answers], [], [], seconds)[0]:
            self.returncode = int(self._answers.recv(64))
            self._answers.close()
            os.close(self._pidfd)
        return self.returncode


def _pipe() -> tuple[IO[str], int]:
    ours, theirs = os.pipe()
    # gRPC logs what it was sent, in whatever bytes; a log that is read no more would stop the node.
    return os.fdopen(ours, errors="backslashreplace"), theirs


@functools.cache
def _zygote() -> socket.socket:
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "support.zygote", str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=with_tests(), stdin=subprocess.DEVNULL)
    theirs.close()

    def end() -> None:
        requests.close()
        process.wait()

    atexit.register(end)
    return requests
