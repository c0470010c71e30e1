"""Whether the disk below a folder takes what is written to it: not what its mode promises, but tried."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NO_NAMELESS_FILES: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_BLOCK: Final = bytes(4096)


def why_not_written(folder: Path) -> OSError | None:
    """Return what keeps a block from the disk, written to a file without a name, of which nothing stays. Waits for it.

    None where it reaches the disk.
    """
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _NO_NAMELESS_FILES and os.access(folder, os.W_OK):
            return None
        return error
    try:
        os.write(descriptor, _BLOCK)
        os.fdatasync(descriptor)
    except OSError as error:
        return error
    finally:
        os.close(descriptor)
    return None
