"""The names of requests, by which a line in a client's log is found in the node's."""

from __future__ import annotations

import itertools
import re
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUEST_ID_KEY: Final = "x-request-id"
_SANE: Final = re.compile(r"[A-Za-z0-9._:/=+-]{1,128}")
_OF_PROCESS: Final = secrets.token_hex(4)
_NUMBERS: Final = itertools.count(1)


def request_id_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the id that a caller gave its request, if it is one that a log can hold; else a new one."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _SANE.fullmatch(value):
            return value
    return f"{_OF_PROCESS}-{next(_NUMBERS):x}"
