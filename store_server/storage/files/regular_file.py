"""Whether a path names a file that can be opened and read without waiting for anybody."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# What whoever wrote the path got wrong; other errors are the machine's.
_NO_FILE: Final = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


def can_name_a_file(text: str) -> bool:
    """Tell whether the operating system takes this as a path at all: no NUL, and nothing that has no bytes."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return False


def fault_of_path(path: Path) -> str:
    """Say why there is no regular file at `path`, "" if there is one; raises OSError when that cannot be found out.

    To open a pipe is to wait for whoever writes into it, perhaps for ever, so this looks without opening.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        return "no such file" if error.errno == errno.ENOENT else os.strerror(error.errno).lower()
    return "" if stat.S_ISREG(mode) else "not a regular file"
