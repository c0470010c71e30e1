"""Files that a process opens, changes or makes, as Python's audit hooks tell: none may lie where it has no business."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fuzz.target import Wrong

_EVENTS: Final = frozenset(
    ("open", "os.truncate", "os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.chmod")
)
_OF_ANYBODY: Final = ("/proc/", "/sys/", "/dev/", "memfd:")


class OpenedFiles:
    """Notices what this process does to files outside of some directories, from now to its end.

    It sees what Python opens, whatever the file; libraries that open files themselves are for Sentinels to see.
    """

    def __init__(self, *own: Path) -> None:
        self._own = tuple(os.path.realpath(path) + os.sep for path in (*own, *_directories_of_the_program()))
        self._outside: str | None = None
        sys.addaudithook(self._hook)

    def check(self) -> None:
        """Raise Wrong if a file outside was touched since the last call."""
        outside, self._outside = self._outside, None
        if outside is not None:
            raise Wrong(f"somebody touched {outside}, which is not theirs")

    def _hook(self, event: str, arguments: Sequence[object]) -> None:
        if event not in _EVENTS or not isinstance(arguments[0], str | bytes):
            return
        named = os.fsdecode(arguments[0])
        with contextlib.suppress(ValueError):  # NUL, of which no file has one in its name
            if not (os.path.realpath(named) + os.sep).startswith(self._own) and not named.startswith(_OF_ANYBODY):
                self._outside = f"{named!r:.200} ({event})"


def _directories_of_the_program() -> list[Path]:
    """Return where modules are read from when they are needed, and lines of theirs for a traceback."""
    return [Path(sys.prefix), Path(sys.base_prefix), *(Path(entry) for entry in sys.path if entry)]
