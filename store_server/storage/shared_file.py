"""A file that two versions share: a second name for it, or a copy where the file system gives none."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NO_LINK: Final = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS))
_NO_COPY_IN_THE_KERNEL: Final = frozenset((errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))
_COPIED_AT_ONCE_BYTES: Final = 1 << 30


def link_or_copy(source: Path, target: Path, *, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Give a durable file that never changes a second name; returns False where it had to be copied, durably.

    The new name is durable with the next sync of its directory. Raises OSError.
    """
    if could_link(source, target, link=link):
        return True
    _copy(source.resolve(), target)
    return False


def could_link(source: Path, target: Path, *, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Give a file a second name; False where the file system has none for it. Raises OSError."""
    try:
        link(source.resolve(), target)  # of a symbolic link, the link itself would get the second name
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file; a file system that can share the blocks of both does so in copy_file_range."""
    with source.open("rb") as reading, target.open("xb") as writing:
        try:
            while os.copy_file_range(reading.fileno(), writing.fileno(), _COPIED_AT_ONCE_BYTES):
                pass
        except OSError as error:
            if error.errno not in _NO_COPY_IN_THE_KERNEL:
                raise
            shutil.copyfileobj(reading, writing)
        writing.flush()
        os.fsync(writing.fileno())
