"""What an entry of the credentials lets its bearer do: scopes over tables whose names match patterns."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from store_server.access.caller import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE: tuple[Scope, ...] = ()
EVERYTHING: Final = "*"
"""The pattern of every table there could be."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Each of the scopes on each table that a pattern fits: `*` stands for any characters, `/` among them."""

    scopes: tuple[Scope, ...]
    tables: tuple[str, ...]
    _fits: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fits", _pattern(self.tables))

    def on(self, table: str) -> tuple[Scope, ...]:
        """Return the scopes on a table."""
        return self.scopes if self._fits.match(table) else NONE


def _pattern(tables: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, tables)) if tables else r"(?!)")
