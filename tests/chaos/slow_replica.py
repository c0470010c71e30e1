"""What hedging saves where one of two replicas holds back a few of its replies."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from chaos.fetches import MOST_HEDGES_PERCENT, RIGHT, WRONG, Asked, Fetch
from chaos.load import load
from chaos.load_client import ROW_BYTES, LoadSettings
from support.network import Loopback
from support.real_cluster import RealCluster, real_cluster
from support.rows import random_rows
from support.slow_replies import SlowReplies, slow_replies

_TABLE, _TABLE_SEED, _TABLE_ROWS, _NUM_NODES = "m/layer-1", 1, 40_000, 2
SHARE, SLOW_SECONDS = 0.05, 0.05
_WITH, _WITHOUT = LoadSettings.hedge_budget, 0.0
_BURST = 4
_ROWS_A_FETCH = 100  # the relays should cost little beside what they hold back


class Round(NamedTuple):
    """What one client told of itself."""

    fetches: list[Fetch]
    asked: Asked


@dataclass(frozen=True, kw_only=True)
class Side:
    """The rounds with hedging, or those without."""

    fetches: int
    failed: int
    wrong: int
    p50_ms: float
    p99_ms: float
    p99_ms_by_round: list[float]
    hedges_percent: float
    extra_requests_percent: float


@dataclass(frozen=True, kw_only=True)
class HedgingFindings:
    """The line of the comparison."""

    scenario: str = "hedging"
    with_hedges: Side
    without: Side
    p99_share: float
    """With hedges, of the one without."""

    @property
    def is_right(self) -> bool:
        is_within_budget = self.with_hedges.hedges_percent <= MOST_HEDGES_PERCENT and not self.without.hedges_percent
        return is_within_budget and not any(side.failed or side.wrong for side in (self.with_hedges, self.without))

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Relayed(Loopback):
    """Both nodes behind a relay, so that they are alike but for the replies that the relay of the last holds back."""

    def __init__(self, num_nodes: int, stack: contextlib.ExitStack) -> None:
        super().__init__(num_nodes)
        self._relays: list[SlowReplies] = [
            stack.enter_context(
                slow_replies(self.listen(number), SHARE if number == num_nodes - 1 else 0.0, SLOW_SECONDS)
            )
            for number in range(num_nodes)
        ]

    def address(self, number: int) -> str:
        return self._relays[number].address


def compare_hedging(
    directory: Path,
    *,
    rounds: int = 5,
    seconds: float = 10.0,
    warm_up_seconds: float = 2.0,
    fetches_a_second: float = 60.0,
    most_under_way: int = LoadSettings.most_under_way,
) -> HedgingFindings:
    """Load two nodes in turns with and without hedging."""
    results: dict[float, list[Round]] = {_WITH: [], _WITHOUT: []}
    with slow_pair(directory) as cluster:
        for _ in range(rounds):
            for budget, of_budget in results.items():
                settings = replace(
                    _settings(cluster, budget), fetches_a_second=fetches_a_second, most_under_way=most_under_way
                )
                of_budget.append(_round(settings, warm_up_seconds, seconds))
    with_hedges, without = (_side(of_budget) for of_budget in results.values())
    return HedgingFindings(
        with_hedges=with_hedges, without=without, p99_share=round(with_hedges.p99_ms / without.p99_ms, 3)
    )


@contextlib.contextmanager
def slow_pair(directory: Path) -> Iterator[RealCluster]:
    tables = {_TABLE: random_rows(_TABLE_ROWS, ROW_BYTES, _TABLE_SEED)}
    with contextlib.ExitStack() as stack:
        network = Relayed(_NUM_NODES, stack)
        yield stack.enter_context(real_cluster(directory, _NUM_NODES, tables, replicas=2, network=network))


def _settings(cluster: RealCluster, budget: float) -> LoadSettings:
    """Return a load that needs both nodes: by bursts, or the one that is a little quicker would be asked for most."""
    return LoadSettings(
        seed_address=cluster.addresses[0],
        table=_TABLE,
        table_rows=_TABLE_ROWS,
        table_seed=_TABLE_SEED,
        rows_a_fetch=_ROWS_A_FETCH,
        burst=_BURST,
        hedge_budget=budget,
    )


def _round(settings: LoadSettings, warm_up_seconds: float, seconds: float) -> Round:
    """Run a client that has to be warm before its fetches count."""
    with load(settings) as running:
        running.go_on(warm_up_seconds)
        counts_from = time.monotonic()
        running.go_on(seconds)
        asked = running.finish()
    return Round([fetch for fetch in running.fetches if fetch.due >= counts_from], asked)


def _side(rounds: Sequence[Round]) -> Side:
    fetches = [fetch for each in rounds for fetch in each.fetches]
    asked = Asked(
        first=sum(each.asked.first for each in rounds),
        hedges=sum(each.asked.hedges for each in rounds),
        after_failures=sum(each.asked.after_failures for each in rounds),
        trials=sum(each.asked.trials for each in rounds),
    )
    return Side(
        fetches=len(fetches),
        failed=sum(fetch.outcome not in (RIGHT, WRONG) for fetch in fetches),
        wrong=sum(fetch.outcome == WRONG for fetch in fetches),
        p50_ms=_milliseconds(fetches, 0.5),
        p99_ms=_milliseconds(fetches, 0.99),
        p99_ms_by_round=[_milliseconds(each.fetches, 0.99) for each in rounds],
        hedges_percent=asked.hedges_percent,
        extra_requests_percent=asked.extra_percent,
    )


def _milliseconds(fetches: Sequence[Fetch], share: float) -> float:
    return round(1e3 * float(np.quantile([fetch.seconds for fetch in fetches], share)), 2)
