"""What a disturbance did to the fetches of a load, next to how they were before it."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple

from chaos.fetches import MOST_HEDGES_PERCENT, RIGHT, WRONG, Asked, Fetch

_TIMES_SLOWER = 10.0
_MOST_SECONDS = 2.0


class Moment(NamedTuple):
    """Something that was done, when by the clock of the fetches."""

    what: str
    when: float


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """The slow fetches that were due between a moment and the next."""

    what: str
    slow: int
    last_slow_ended_after_seconds: float | None
    """None where there was no slow one."""
    calm_again_after_seconds: float
    """When the last one ended of those in seconds with more slow ones than the worst second of the calm."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The line of one scenario; slow is more than ten times what the middle one took in the calm."""

    scenario: str
    network: str
    fetches: int
    failed: int
    wrong: int
    failures: list[str]
    calm_p50_ms: float
    calm_slow_percent: float
    calm_slow_in_worst_second: int
    after: list[Aftermath]
    slow_by_second: dict[int, int]
    """From the first moment on; seconds without any are left out."""
    calm_within_2_s: bool
    hedges_percent: float
    extra_requests_percent: float
    """For both see Asked."""

    @property
    def is_right(self) -> bool:
        return not self.failed and not self.wrong and self.hedges_percent <= MOST_HEDGES_PERCENT

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def find(
    scenario: str, network: str, fetches: Sequence[Fetch], asked: Asked, calm_from: float, moments: Sequence[Moment]
) -> Findings:
    """Judge fetches by those that were due from `calm_from` until the first of the moments."""
    first = moments[0].when
    calm = [fetch for fetch in fetches if calm_from <= fetch.due < first]
    calm_p50 = statistics.median(fetch.seconds for fetch in calm)
    slow = [fetch for fetch in fetches if fetch.due >= calm_from and fetch.seconds > _TIMES_SLOWER * calm_p50]
    calm_slow = Counter(math.floor(fetch.due - first) for fetch in slow if fetch.due < first)
    worst = max(calm_slow.values(), default=0)
    bounds = [*moments, Moment("", math.inf)]
    after = [
        _aftermath(moment, [fetch for fetch in slow if moment.when <= fetch.due < until.when], worst)
        for moment, until in pairwise(bounds)
    ]
    failures = [fetch.outcome for fetch in fetches if fetch.outcome not in (RIGHT, WRONG)]
    return Findings(
        scenario=scenario,
        network=network,
        fetches=len(fetches),
        failed=len(failures),
        wrong=sum(fetch.outcome == WRONG for fetch in fetches),
        failures=sorted(set(failures))[:3],
        calm_p50_ms=round(1e3 * calm_p50, 2),
        calm_slow_percent=round(100 * calm_slow.total() / len(calm), 2),
        calm_slow_in_worst_second=worst,
        after=after,
        slow_by_second=dict(sorted(Counter(math.floor(fetch.due - first) for fetch in slow).items())),
        calm_within_2_s=all(one.calm_again_after_seconds <= _MOST_SECONDS for one in after),
        hedges_percent=asked.hedges_percent,
        extra_requests_percent=asked.extra_percent,
    )


def _aftermath(moment: Moment, slow: Sequence[Fetch], usual_a_second: int) -> Aftermath:
    by_second = Counter(math.floor(fetch.due - moment.when) for fetch in slow)
    unusual = [fetch.ended for fetch in slow if by_second[math.floor(fetch.due - moment.when)] > usual_a_second]
    last = max((fetch.ended for fetch in slow), default=None)
    return Aftermath(
        what=moment.what,
        slow=len(slow),
        last_slow_ended_after_seconds=None if last is None else round(last - moment.when, 2),
        calm_again_after_seconds=round(max(unusual) - moment.when, 2) if unusual else 0.0,
    )
