"""What is fuzzed: something that reads what others wrote, and what must come of whatever it reads."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeAlias

ACCEPTED, REFUSED = "accepted", "refused"
TryOne: TypeAlias = Callable[[random.Random], str]
"""Makes one hostile input, has it read, and says what came of it. Raises Wrong, or whatever must not come out."""


class Wrong(AssertionError):
    """What was read is not what the input says, or is no answer at all."""


class Target(NamedTuple):
    """`opened` gets an empty directory; `share` is how many of a thousand inputs, or so, are for this one."""

    name: str
    says: str
    share: int
    opened: Callable[[Path], AbstractContextManager[TryOne]]
    opens_what_is_named: bool = False
    """Whether files are opened wherever they are, for the reason that the input names them."""


def input_rng(seed: int, target: str, number: int) -> random.Random:
    """What decides an input: the same for the same three, whatever came before it."""
    return random.Random(f"{seed} {target} {number}")
