"""What became of the fetches of a load while something befell etcd or a cluster that has its map there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from chaos.fetches import MOST_HEDGES_PERCENT, RIGHT, WRONG, Asked, Fetch
from chaos.findings import Moment


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The fetches that were due between a moment and the next."""

    since: str
    seconds: float | None
    """None for the last one, which ends with the load."""
    fetches: int
    p50_ms: float | None
    p99_ms: float | None
    slowest_ms: float | None
    """None where no fetch was due."""


@dataclass(frozen=True, kw_only=True)
class EtcdFindings:
    """The line of one scenario."""

    scenario: str
    node_options: str
    fetches: int
    failed: int
    wrong: int
    failures: list[str]
    phases: list[Phase]
    hedges_percent: float
    extra_requests_percent: float
    """For both see Asked."""
    told: Mapping[str, object]
    """What only this scenario has to tell."""
    faults: list[str]
    """What should not have become of the cluster itself."""

    @property
    def is_right(self) -> bool:
        is_within_budget = self.hedges_percent <= MOST_HEDGES_PERCENT
        return not (self.failed or self.wrong or self.faults) and is_within_budget

    def as_json(self) -> dict[str, object]:
        line = asdict(self)
        told = line.pop("told")
        return {**line, **told}


def find_phases(fetches: Sequence[Fetch], moments: Sequence[Moment]) -> list[Phase]:
    """Sum fetches up from each moment until the next."""
    return [
        _phase(moment, until.when, [fetch.seconds for fetch in fetches if moment.when <= fetch.due < until.when])
        for moment, until in pairwise([*moments, Moment("", math.inf)])
    ]


def find_with_etcd(
    scenario: str,
    node_options: Sequence[str],
    fetches: Sequence[Fetch],
    asked: Asked,
    moments: Sequence[Moment],
    told: Mapping[str, object],
    faults: Sequence[str],
) -> EtcdFindings:
    failures = [fetch.outcome for fetch in fetches if fetch.outcome not in (RIGHT, WRONG)]
    return EtcdFindings(
        scenario=scenario,
        node_options=" ".join(node_options),
        fetches=len(fetches),
        failed=len(failures),
        wrong=sum(fetch.outcome == WRONG for fetch in fetches),
        failures=sorted(set(failures))[:3],
        phases=find_phases(fetches, moments),
        hedges_percent=asked.hedges_percent,
        extra_requests_percent=asked.extra_percent,
        told=told,
        faults=list(faults),
    )


def _phase(moment: Moment, until: float, seconds: Sequence[float]) -> Phase:
    p50, p99, slowest = (
        (round(1e3 * float(each), 2) for each in np.quantile(seconds, (0.5, 0.99, 1.0))) if seconds else (None,) * 3
    )
    return Phase(
        since=moment.what,
        seconds=None if until == math.inf else round(until - moment.when, 2),
        fetches=len(seconds),
        p50_ms=p50,
        p99_ms=p99,
        slowest_ms=slowest,
    )
