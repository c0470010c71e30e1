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


def byte_size_text(num_bytes: int) -> str:
    """Return what `parse_byte_size` makes these bytes of, in the largest unit that divides them: 8GiB, or 1000."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if num_bytes and num_bytes % 1024**power == 0:
            return f"{num_bytes // 1024**power}{unit}"
    return str(num_bytes)
