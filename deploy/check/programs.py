"""The programs that judge: those of this virtual environment, else of the system."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT_SECONDS: Final = 120.0


class ProgramMissing(Exception):
    """A program is neither in the virtual environment nor on the PATH."""


def complaints(name: str, *arguments: object) -> Iterator[str]:
    """Run a program; yield all that it said, each line by itself, if it failed."""
    code, said = run(name, *arguments)
    if code:
        yield from (f"{name}: {line}" for line in said.splitlines() if line.strip())
        if not said.strip():
            yield f"{name} failed with exit status {code} and no word"


def run(name: str, *arguments: object) -> tuple[int, str]:
    """Run a program and return its exit status and what it said. Raises ProgramMissing."""
    here = Path(sys.executable).with_name(name)
    program = str(here) if here.exists() else shutil.which(name)
    if program is None:
        raise ProgramMissing(f"{name} is missing: `make deploy-check` installs it on Debian, see get-programs.sh")
    ended = subprocess.run(  # noqa: S603 - programs and arguments are ours
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr
