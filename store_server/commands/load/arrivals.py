"""When fetches are due. In an open loop that is decided beforehand, whatever the server does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = 1024
Seed: TypeAlias = int | tuple[int, ...]


class Spacing(Enum):
    """How the arrivals of an open loop are spread."""

    poisson = "poisson"
    constant = "constant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Fetches due at `rate` a second, `burst` of them at once; one process of `shares` takes every `shares`-th part."""

    rate: float
    spacing: Spacing = Spacing.poisson
    burst: int = 1
    share: int = 0
    shares: int = 1

    def times(self, seed: Seed) -> Iterator[float]:
        """Yield when each fetch is due, in seconds from the start, without end."""
        gap = self.burst * self.shares / self.rate  # between two bursts of this process
        times = _poisson(gap, seed) if self.spacing is Spacing.poisson else _constant(gap, self.share / self.shares)
        for time in times:
            yield from itertools.repeat(time, self.burst)


def _poisson(gap: float, seed: Seed) -> Iterator[float]:
    # Independent processes at a part of the rate make one process at the whole rate.
    generator = np.random.default_rng(seed)
    last = 0.0
    while True:
        times = last + np.cumsum(generator.exponential(gap, _BLOCK))
        last = float(times[-1])
        yield from times.tolist()


def _constant(gap: float, offset: float) -> Iterator[float]:
    # The others' arrivals lie evenly in the gaps.
    return (gap * (number + offset) for number in itertools.count())
