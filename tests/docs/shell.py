"""A shell in which the commands of a section run one after the other, as in a terminal that stays open."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_STEP_SECONDS = 200.0
_END_SECONDS = 30.0
_LOOPBACK = "127.0.0.1"
# Commands come on descriptor 3, each ended by a zero byte; their exit statuses go to descriptor 4.
_LOOP = 'while IFS= read -r -d "" -u 3 command; do eval "$command" 3<&- 4>&-; echo $? >&4; done'


class Ended(NamedTuple):
    """The exit status of a command, and what came from it and from what runs in the background meanwhile."""

    status: int
    printed: str


class Shell:
    """bash in a folder, with an address of loopback to itself: whatever ports a page names, they are free there."""

    def __init__(self, folder: Path, output: Path) -> None:
        self._address = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"
        self._output = output
        commands, self._commands = os.pipe()
        self._statuses, statuses = os.pipe()
        with output.open("ab") as file:
            # Descriptors 3 and 4 are moved there by the first shell.
            script = f"exec 3<&{commands} 4>&{statuses}; exec bash --noprofile --norc -c '{_LOOP}'"
            self._process = subprocess.Popen(
                ["/bin/bash", "--noprofile", "--norc", "-c", script],
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
        """Run a command to its end; one that ends with & is left running."""
        begun = self._output.stat().st_size
        os.write(self._commands, command.replace(_LOOPBACK, self._address).encode() + b"\0")
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
        return printed.replace(self._address, _LOOPBACK)

    def close(self) -> None:
        """End what was left running, and then the shell, which reaps it."""
        os.write(self._commands, b"jobs -p | xargs -r kill; wait\0")
        select.select([self._statuses], [], [], _END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_END_SECONDS)
        os.close(self._commands)
        os.close(self._statuses)


@contextlib.contextmanager
def shell_in(folder: Path, output: Path) -> Iterator[Shell]:
    """Keep a shell open as long as the block lasts."""
    shell = Shell(folder, output)
    try:
        yield shell
    finally:
        shell.close()


def _environment(home: Path) -> dict[str, str]:
    """That of somebody who has just logged in, with the installed project on the path."""
    taken = {name: value for name, value in os.environ.items() if not re.match(r"ENGRAM_|ETCD|PYTEST|OTEL", name)}
    path = os.pathsep.join([str(Path(sys.executable).parent), taken["PATH"]])
    return {**taken, "PATH": path, "HOME": str(home), "COLUMNS": "200", "LC_ALL": "C.UTF-8", "PS1": "$ "}
