"""Whether the disk below a folder takes what is written to it: not what its mode promises, but tried."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NO_NAMELESS_FILES: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_BLOCK: Final = bytes(4096)


def can_be_written(folder: Path) -> bool:
    """Tell whether a block reaches the disk, in a file without a name, of which nothing stays. Waits for the disk."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return error.errno in _NO_NAMELESS_FILES and os.access(folder, os.W_OK)
    try:
        os.write(descriptor, _BLOCK)
        os.fdatasync(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
