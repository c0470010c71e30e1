"""How long lookups took between two looks, as far as the buckets of a histogram tell."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from store_server.commands.top.traffic import seconds_between

if TYPE_CHECKING:
    from engram_store.v1.admin_service_pb2 import GetStatusResponse, LookupTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A time of which only its bucket is known: above the one, and at most the other."""

    above_seconds: float
    at_most_seconds: float
    """Infinite for the last bucket."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """How many took at most each bound and more than the bound below it; bounds of nodes may differ."""

    counts: Counter[Between] = field(default_factory=Counter)

    def add(self, before: GetStatusResponse | None, now: GetStatusResponse | None) -> None:
        """Take in what a process counted between two looks, from wherever the rows came."""
        if before is None or now is None or seconds_between(before, now) is None:
            return
        for source, times in now.lookup_seconds.items():
            self._take(before.lookup_seconds.get(source), times)

    def percentile(self, percent: float) -> Between | None:
        """Return where the time lies that `percent` of 100 did not exceed (nearest rank); None if there were none."""
        rank, passed = math.ceil(percent * self.counts.total() / 100), 0
        for bucket in sorted(self.counts, key=lambda each: (each.at_most_seconds, each.above_seconds)):
            passed += self.counts[bucket]
            if self.counts[bucket] and passed >= rank:
                return bucket
        return None

    def _take(self, before: LookupTimes | None, now: LookupTimes) -> None:
        bounds = (*now.bounds_seconds, math.inf)
        earlier = [0] * len(bounds) if before is None or not before.cumulative else list(before.cumulative)
        if len(now.cumulative) != len(bounds) or len(earlier) != len(bounds):
            return  # another kind of node; it says nothing that could be compared
        risen = [later - sooner for later, sooner in zip(now.cumulative, earlier, strict=True)]
        for index, bound in enumerate(bounds):
            below = bounds[index - 1] if index else 0.0
            number = risen[index] - (risen[index - 1] if index else 0)
            self.counts[Between(above_seconds=below, at_most_seconds=bound)] += max(0, number)
