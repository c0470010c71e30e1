"""A file system in user space that hands on to a directory, until it is told that something of it fails.

    python failing_files.py DIRECTORY MOUNTPOINT

Each line that it reads is JSON: all faults that there are from then on, each `[kind, pattern, errno]`; it answers with
a line of its own. `kind` is "read", "write" (whatever changes something) or "sync"; a pattern as of fnmatch is compared
with the path from the mount point on. When there are no more lines it ends.
"""
# ruff: noqa: ARG002, PTH101, PTH102, PTH104, PTH106, PTH108, PTH115, PTH211  (FUSE names the arguments, and this hands on to system calls)

from __future__ import annotations

import ctypes
import fnmatch
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import mfusepy

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class FailingFiles(mfusepy.Operations):
    """The files below `directory`, with the faults of the last line."""

    use_ns = True

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._faults: list[tuple[str, str, int]] = []

    def obey(self) -> None:
        for line in sys.stdin:
            self._faults = [tuple(fault) for fault in json.loads(line)]
            print("done", flush=True)
        os._exit(0)  # unmounted by whoever mounted it

    def _require(self, kind: str, *paths: str) -> None:
        for fault_kind, pattern, number in self._faults:
            if fault_kind == kind and any(fnmatch.fnmatch(path.lstrip("/"), pattern) for path in paths):
                raise OSError(number, os.strerror(number))

    def _real(self, path: str) -> str:
        return self._directory + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        status = os.lstat(self._real(path)) if fh is None else os.fstat(fh)
        names = ("mode", "nlink", "uid", "gid", "size", "blocks", "ino", "blksize")
        times = {f"st_{name}": getattr(status, f"st_{name}_ns") for name in ("atime", "mtime", "ctime")}
        return times | {f"st_{name}": getattr(status, f"st_{name}") for name in names}

    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(self._real(path))
        names = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "frsize", "namemax")
        return {f"f_{name}": getattr(status, f"f_{name}") for name in names}

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        self._require("read", path)
        with os.scandir(self._real(path)) as entries:  # one without a number of its own would not be shown
            return iter([(entry.name, {"st_ino": entry.inode()}, 0) for entry in entries])

    def readlink(self, path: str) -> str:
        return os.readlink(self._real(path))

    def open(self, path: str, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            self._require("write", path)
        return os.open(self._real(path), flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._require("read", path)
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def create(self, path: str, mode: int, flags: int) -> int:
        self._require("write", path)
        return os.open(self._real(path), flags | os.O_CREAT, mode)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._require("write", path)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._require("write", path)
        os.truncate(self._real(path) if fh is None else fh, length)
        return 0

    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> int:
        self._require("write", path)
        return 0 if _libc.fallocate(fh, mode, offset, size) == 0 else -ctypes.get_errno()

    def mkdir(self, path: str, mode: int) -> int:
        self._require("write", path)
        os.mkdir(self._real(path), mode)
        return 0

    def unlink(self, path: str) -> int:
        self._require("write", path)
        os.unlink(self._real(path))
        return 0

    def rmdir(self, path: str) -> int:
        self._require("write", path)
        os.rmdir(self._real(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        self._require("write", old, new)
        os.rename(self._real(old), self._real(new))
        return 0

    def link(self, target: str, source: str) -> int:
        self._require("write", target)
        os.link(self._real(source), self._real(target))
        return 0

    def symlink(self, target: str, source: str) -> int:
        self._require("write", target)
        os.symlink(source, self._real(target))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._require("write", path)
        os.chmod(self._real(path), mode)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._require("write", path)
        os.utime(self._real(path), ns=times)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._require("sync", path)
        os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._require("sync", path)
        return 0


def main(directory: str, mountpoint: str) -> None:
    files = FailingFiles(Path(directory))
    threading.Thread(target=files.obey, daemon=True).start()
    # What is changed here is seen at once, also where others change it below; names keep their numbers.
    options = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0, "use_ino": True}
    mfusepy.FUSE(files, mountpoint, foreground=True, nothreads=True, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
