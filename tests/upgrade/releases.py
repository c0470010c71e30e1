"""This release and the last one, whose sources lie beside this file, and how to run a program of either."""

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import engram_client

TESTS = Path(__file__).parents[1]
RELEASED = Path(__file__).with_name("released.tar.xz")


class Release:
    """One of them; its packages are below `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    @property
    def prefix(self) -> Sequence[str]:
        """The command that runs another one so that Python finds the packages of this release."""
        path = ":".join(map(str, (self.folder, self.folder / "proto", TESTS)))
        return ("env", f"--chdir={self.folder}", f"PYTHONPATH={path}")

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a module of tests that uses the packages of this release."""
        command = [*self.prefix, sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def this_release() -> Release:
    """Return what is being worked on."""
    return Release("this", Path(engram_client.__file__).parents[1])


def last_release(directory: Path) -> Release:
    """Unpack the last one into a directory that it is to have for itself."""
    with tarfile.open(RELEASED) as archive:
        archive.extractall(directory, filter="data")
    return Release("last", directory)
