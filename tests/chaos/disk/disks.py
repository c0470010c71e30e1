"""Disks that fail when they are told to, and are mended again."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

_FAILING_FILES = Path(__file__).with_name("failing_files.py")
_START_SECONDS, _LOOK_SECONDS = 20.0, 0.01
_SMALL_BYTES, _PAGE_BYTES = 24 << 20, 4096


class Disk(Protocol):
    place: Path
    """Where it is mounted."""
    cause: str
    """What whoever writes to it is told while it fails."""

    def fail(self) -> None: ...

    def mend(self) -> None: ...


class FullDisk:
    """A tmpfs in which something else takes all that is left."""

    cause = "disk full"

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "somebody else's"

    def fail(self) -> None:
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(_PAGE_BYTES)) == _PAGE_BYTES:
                pass

    def mend(self) -> None:
        self._ballast.unlink()


class ReadOnlyDisk:
    """A tmpfs that is mounted read-only all of a sudden; nobody may have a file of it open for writing then."""

    cause = "Read-only file system"

    def __init__(self, place: Path) -> None:
        self.place = place

    def fail(self) -> None:
        _run("mount", "-o", "remount,ro", str(self.place))

    def mend(self) -> None:
        _run("mount", "-o", "remount,rw", str(self.place))


class FailingDisk:
    """Files in user space of which those that match a pattern fail, in a certain way: see failing_files."""

    def __init__(self, place: Path, program: subprocess.Popen[str], kind: str, pattern: str, number: int) -> None:
        self.place = place
        self.cause = os.strerror(number)
        self._program = program
        self._faults = [(kind, pattern, number)]

    def fail(self) -> None:
        self._tell(self._faults)

    def fail_for(self, kind: str, pattern: str, number: int = errno.EIO) -> None:
        """Fail in another way."""
        self._tell([(kind, pattern, number)])

    def mend(self) -> None:
        self._tell([])

    def _tell(self, faults: list[tuple[str, str, int]]) -> None:
        self._program.stdin.write(json.dumps(faults) + "\n")
        if not self._program.stdout.readline():
            raise AssertionError("the file system has ended; its own words are above")


MakeDisk = Callable[[Path], AbstractContextManager[Disk]]


def small(kind: type[FullDisk | ReadOnlyDisk]) -> MakeDisk:
    @contextlib.contextmanager
    def mounted(directory: Path) -> Iterator[Disk]:
        place = directory / "disk"
        place.mkdir()
        command = ["/bin/mount", "-t", "tmpfs", "-o", f"size={_SMALL_BYTES}", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
            pytest.skip("mounting a tmpfs needs root")
        try:
            yield kind(place)
        finally:
            _run("umount", "--lazy", str(place))

    return mounted


def failing(kind: str = "write", pattern: str = "*", number: int = errno.EIO) -> MakeDisk:
    @contextlib.contextmanager
    def mounted(directory: Path) -> Iterator[FailingDisk]:
        pytest.importorskip("mfusepy", reason="needs mfusepy (pip install '.[dev]') and libfuse (Debian: libfuse3-3)")
        if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("mounting a FUSE file system takes root and /dev/fuse")
        place, behind = directory / "disk", directory / "behind"
        place.mkdir()
        behind.mkdir()
        command = [sys.executable, str(_FAILING_FILES), str(behind), str(place)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, bufsize=1, **pipes) as program:
            try:
                _wait_for(program, place)
                yield FailingDisk(place, program, kind, pattern, number)
            finally:
                subprocess.run(["/bin/umount", "--lazy", str(place)], check=False, capture_output=True)
                program.stdin.close()

    return mounted


DISKS: dict[str, MakeDisk] = {
    "full": small(FullDisk),
    "read-only": small(ReadOnlyDisk),
    "failing writes": failing("write"),
    "failing syncs": failing("sync"),
}


def _wait_for(program: subprocess.Popen[str], place: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not place.is_mount():
        if program.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"nothing was mounted at {place}")
        time.sleep(_LOOK_SECONDS)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_START_SECONDS)
