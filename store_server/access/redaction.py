"""The last line of defence: whatever looks like a token of ours, or like what callers show, is masked in the log.

No code is to write a secret anywhere. But an error of a library may quote what it was given, and a line of a log is
read by many and kept for long.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

MASK: Final = "***"
# Also one that was cut short, or pasted in capitals. An id is no secret, and tells which token has to be replaced.
_TOKEN: Final = re.compile(r"(engram_[0-9a-f]{12}_)[0-9a-z]+", re.IGNORECASE)
_BEARER: Final = re.compile(r"\b(bearer(?:\s|\\[tnr])+)(?!engram_)[\w.~+/=-]+", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text without the secrets in it."""
    return _BEARER.sub(rf"\1{MASK}", _TOKEN.sub(rf"\1{MASK}", text))


def mask_line(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    """Mask a line as it is about to be written: a processor of structlog, behind the one that renders."""
    return masked(str(line))
