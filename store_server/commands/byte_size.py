"""Numbers of bytes as people write them: 1048576, 512MiB, 8GiB, 10GB."""

from __future__ import annotations

import re
from typing import Final

import typer

_SIZE: Final = re.compile(r"(?P<number>[0-9]{1,18}(\.[0-9]{1,9})?) ?(?P<unit>|B|[kKMGT]i?B?)")
_POWERS: Final = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_byte_size(text: str | int) -> int:
    """Return the bytes of a size such as 8GiB (1024 to the power of 3) or 8GB (1000); raises typer.BadParameter.

    A number is a default: typer hands that over, too.
    """
    if isinstance(text, int):
        return text
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"a size is a number of bytes such as 1048576, 512MiB or 8GiB, got {text!r:.100}")
    unit = found["unit"]
    factor = (1024 if "i" in unit else 1000) ** _POWERS.get(unit[:1], 0)
    return int(float(found["number"]) * factor) if "." in found["number"] else int(found["number"]) * factor
