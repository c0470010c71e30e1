"""Files that nobody has any business with: planted around what is fuzzed, and watched."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from fuzz.target import Wrong

_NAMES: Final = ("secret", "secret.safetensors", "deep/secret", "deep/CURRENT", "deep/table.json")
# From inotify(7): access, modify, attrib, close_write, moved, create, delete, delete_self, move_self, open.
_EVENTS: Final = 0x1 | 0x2 | 0x4 | 0x8 | 0xC0 | 0x100 | 0x200 | 0x400 | 0x800 | 0x20
_IS_DIRECTORY: Final = 0x40000000
_EVENT: Final = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class _State(NamedTuple):
    inode: int
    mode: int
    changed_ns: int
    digest: str


class Sentinels:
    """Notices whoever opens, changes, makes or removes a file in a directory. Made by `planted`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._before = _states(directory)
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._places: dict[int, Path] = {}
        for place in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
            number = _libc.inotify_add_watch(self._descriptor, os.fsencode(place), _EVENTS)
            if number < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(place))
            self._places[number] = place

    @classmethod
    @contextlib.contextmanager
    def planted(cls, directory: Path, like: Path | None = None) -> Iterator[Sentinels]:
        """Plant files, copies of `like` if given, and watch them as long as the block lasts; see `check` at its end."""
        for name in _NAMES:
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if like is None:
                path.write_bytes(f"nobody reads {name}".encode())
            else:
                shutil.copyfile(like, path)
        sentinels = cls(directory)
        try:
            yield sentinels
            sentinels.check()
            sentinels.check_states()
        finally:
            os.close(sentinels._descriptor)

    def ways_from(self, home: Path) -> list[str]:
        """Return names that lead to the files, some from a directory `home`, some from anywhere."""
        files = [str(self.directory / name) for name in _NAMES]
        relative = [os.path.relpath(file, home) for file in files]
        return [*files, *relative, *(f"x/../{name}" for name in relative), *(f"file://{file}" for file in files)]

    def check(self) -> None:
        """Raise Wrong if anybody has touched a file since the last call."""
        if (seen := self._seen()) is not None:
            raise Wrong(f"somebody touched {seen}, which is not theirs")

    def check_states(self) -> None:
        """Raise Wrong if the directory is not what it was; to look opens the files, so no `check` may follow."""
        if (found := _states(self.directory)) != self._before:
            changed = sorted(
                str(path) for path in found.keys() | self._before.keys() if found.get(path) != self._before.get(path)
            )
            raise Wrong(f"changed, and not theirs: {', '.join(changed)}")

    def _seen(self) -> Path | None:
        """Return a file that was touched; directories may be looked into, as long as nothing in them is."""
        try:
            events = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return None
        position = 0
        while position < len(events):
            number, mask, _, length = _EVENT.unpack_from(events, position)
            name = events[position + _EVENT.size : position + _EVENT.size + length].rstrip(b"\0")
            position += _EVENT.size + length
            if not mask & _IS_DIRECTORY:
                return self._places.get(number, self.directory) / os.fsdecode(name)
        return None


def _states(directory: Path) -> dict[Path, _State]:
    return {path: _state(path) for path in sorted(directory.rglob("*"))}


def _state(path: Path) -> _State:
    found = path.lstat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return _State(found.st_ino, found.st_mode, found.st_mtime_ns, digest)
