"""Shells and interpreters in which the commands of a page run one after the other, as in terminals that stay open."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_STEP_SECONDS = 200.0
_END_SECONDS = 30.0
_LOOPBACK = "127.0.0.1"
_BASH = ("/bin/bash", "--noprofile", "--norc", "-c")
_SHELL_LOOP = 'while IFS= read -r -d "" -u 3 command; do eval "$command" 3<&- 4>&-; echo $? >&4; done'
_PYTHON_LOOP = """
import os, sys, traceback
commands, statuses = map(int, sys.argv[1:])
names = {"__name__": "__main__"}
while code := os.read(commands, 1 << 16):
    while not code.endswith(b"\\0"):
        code += os.read(commands, 1 << 16)
    try:
        exec(compile(code[:-1], "<page>", "exec"), names)
        status = 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os.write(statuses, b"%d" % status)
"""


class Ended(NamedTuple):
    """The exit status of a command, and what came from it and from what runs in the background meanwhile."""

    status: int
    printed: str


class Session:
    """A program that is told one thing after the other to do, with an address of loopback to itself.

    Whatever ports a page names, they are free there. `command_of` returns its command line, from the descriptors of
    which it reads what to do, each ended by a zero byte, and to which it writes exit statuses.
    """

    def __init__(
        self, folder: Path, output: Path, command_of: Callable[[int, int], list[str]], address: str | None = None
    ) -> None:
        one, two, three = random.randint(1, 250), random.randint(1, 250), random.randint(2, 250)
        self.address = address or f"127.{one}.{two}.{three}"
        self._output = output
        commands, self._commands = os.pipe()
        self._statuses, statuses = os.pipe()
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command_of(commands, statuses),
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=[commands, statuses],
                start_new_session=True,
            )
        os.close(commands)
        os.close(statuses)

    def run(self, command: str) -> Ended:
        """Run a command to its end; one that ends with & is left running, in a shell."""
        begun = self._output.stat().st_size
        os.write(self._commands, command.replace(_LOOPBACK, self.address).encode() + b"\0")
        if not select.select([self._statuses], [], [], _STEP_SECONDS)[0]:
            raise AssertionError(f"no end after {_STEP_SECONDS} s: {command}\n{self.printed_since(begun)}")
        return Ended(int(os.read(self._statuses, 64) or b"-1"), self.printed_since(begun))

    @property
    def num_printed(self) -> int:
        """How many bytes were printed so far."""
        return self._output.stat().st_size

    def printed_since(self, begun: int) -> str:
        """Return what was printed after so many bytes."""
        printed = self._output.read_bytes()[begun:].decode(errors="backslashreplace")
        return printed.replace(self.address, _LOOPBACK)

    def close(self) -> None:
        """End it, and what it has left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_END_SECONDS)
        os.close(self._commands)
        os.close(self._statuses)


@contextlib.contextmanager
def shell_in(folder: Path, output: Path) -> Iterator[Session]:
    """Keep a shell open as long as the block lasts."""
    # Its descriptors 3 and 4 are moved there by the first shell.
    shell = Session(
        folder,
        output,
        lambda commands, statuses: [
            *_BASH,
            f"exec 3<&{commands} 4>&{statuses}; exec {' '.join(_BASH)} '{_SHELL_LOOP}'",
        ],
    )
    try:
        yield shell
    finally:
        with contextlib.suppress(AssertionError):
            shell.run("jobs -p | xargs -r kill; wait")  # which reaps what was left running
        shell.close()


@contextlib.contextmanager
def python_in(folder: Path, output: Path, address: str) -> Iterator[Session]:
    """Keep an interpreter open as long as the block lasts, for whom loopback is where it is for a shell."""
    python = Session(
        folder,
        output,
        lambda commands, statuses: [sys.executable, "-c", _PYTHON_LOOP, str(commands), str(statuses)],
        address,
    )
    try:
        yield python
    finally:
        python.close()


def _environment(home: Path) -> dict[str, str]:
    """That of somebody who has just logged in, with the installed project on the path."""
    taken = {name: value for name, value in os.environ.items() if not re.match(r"ENGRAM_|ETCD|PYTEST|OTEL", name)}
    path = os.pathsep.join([str(Path(sys.executable).parent), taken["PATH"]])
    return {**taken, "PATH": path, "HOME": str(home), "COLUMNS": "200", "LC_ALL": "C.UTF-8", "PS1": "$ "}
