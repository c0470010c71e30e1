"""What a setting is called in each place where it may be given: `--memory-budget` is ENGRAM_MEMORY_BUDGET, too.

But `--insecure` is ENGRAM_SERVE_INSECURE, as ENGRAM_INSECURE is for clients.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, TypeAlias

from typer.core import TyperArgument, TyperOption

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX: Final = "ENGRAM_"
_OF_A_NODE: Final = {"insecure": "SERVE_INSECURE"}  # what lets a client speak in plain text must not let a node, too

Setting: TypeAlias = TyperArgument | TyperOption


def key_of(setting: Setting) -> str:
    """Return its key in a file, such as memory-budget."""
    return max(setting.opts, key=len).lstrip("-")


def variable_of(setting: Setting) -> str:
    """Return its environment variable."""
    key = key_of(setting)
    return PREFIX + _OF_A_NODE.get(key, key.replace("-", "_").upper())


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what to add to a message about a name that nobody knows: "" if it is like none that is known."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
