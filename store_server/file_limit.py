"""How many files a process may have open."""

from __future__ import annotations

import contextlib
import resource


def raise_file_limit() -> None:
    """Raise the soft limit to the hard one.

    A node keeps a descriptor for each file of each open version and one for each connection. The usual soft limit of
    1,024 is for programs that use select(), which takes no higher ones; nothing here does.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a container may forbid it; then the limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
