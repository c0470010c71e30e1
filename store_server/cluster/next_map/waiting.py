"""How long nodes and publishers that are away are waited for, and versions without a name are kept: by own clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from engram_store.shard_map import ShardMap, VersionKey
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.next_map.away_clock import AwayClock
from store_server.cluster.next_map.lost_nodes import LossSettings, lost_nodes, lost_publishers
from store_server.cluster.next_map.map_steps import MapStep, next_map
from store_server.cluster.next_map.retirement import RetirementSettings, overdue
from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.registration import NodeRegistration


class Over(NamedTuple):
    """Whose time is over: from then on another map may follow."""

    nodes: frozenset[str] = frozenset()
    publishers: frozenset[str] = frozenset()
    """Of pending versions; "" where the map names none, whom nobody ever sees."""
    versions: frozenset[VersionKey] = frozenset()


class Waiting:
    """Looks again and again at the map, None for none, and at who is present, None while that cannot be seen."""

    def __init__(self, config: ClusterConfig) -> None:
        self._loss = LossSettings(
            lost_after_seconds=config.lost_after_seconds, all_lost_after_seconds=config.all_lost_after_seconds
        )
        self._retirement = RetirementSettings(
            after_seconds=config.retire_after_seconds, at_latest_seconds=config.retire_at_latest_seconds
        )
        self._nodes = _Absences(config.lost_after_seconds)
        self._publishers = _Absences(config.lost_after_seconds)
        self._publishers_present: Collection[str] | None = None
        self._unnamed: AwayClock[VersionKey] = AwayClock()
        self._retired_seconds: Mapping[VersionKey, float] = {}

    def look(
        self,
        known: ShardMap | None,
        present: Mapping[str, NodeRegistration] | None,
        publishers: Collection[str] | None,
        now: float,
    ) -> None:
        """Take note of who and what is away. `now` is of a clock in seconds that never goes back."""
        self._nodes.look(present, [node.id for node in known.nodes] if known is not None else [], now)
        self._publishers_present = publishers
        self._publishers.look(publishers, _publishers_of(known), now)
        if known is not None:
            named = importance(known.sets.values()) if present is not None else None  # else readers cannot be seen
            self._retired_seconds = self._unnamed.look(named, known.versions, now)

    def over(self, known: ShardMap | None, present: Mapping[str, NodeRegistration]) -> Over:
        """Return whose time is over, given what was looked at last."""
        if known is None:
            return Over()
        lost = lost_nodes(known.nodes, present, self._nodes.away_seconds, self._loss)
        versions = overdue(known, present, lost, self._retired_seconds, self._retirement)
        return Over(lost, self._lost_publishers(known), versions)

    def next_map(self, known: ShardMap, present: Mapping[str, NodeRegistration]) -> MapStep:
        """Return the map that follows; takes seconds of a processor for a thousand nodes."""
        return next_map(
            known,
            present.values(),
            self._nodes.away_seconds,
            self._loss,
            retired_seconds=self._retired_seconds,
            retirement=self._retirement,
            publishers_lost=self._lost_publishers(known),
        )

    def _lost_publishers(self, known: ShardMap) -> frozenset[str]:
        if self._publishers_present is None:
            return frozenset()
        return lost_publishers(
            self._publishers.away_seconds,
            len(_publishers_of(known)),
            self._nodes.away_seconds.values(),
            len(known.nodes),
            self._loss,
        )


class _Absences:
    """For how long some of those that are expected have been away."""

    def __init__(self, lost_after_seconds: float) -> None:
        self.away_seconds: Mapping[str, float] = {}
        self._clock: AwayClock[str] = AwayClock()
        self._lost_after_seconds = lost_after_seconds

    def look(self, present: Collection[str] | None, expected: Collection[str], now: float) -> None:
        before, self.away_seconds = self.away_seconds, self._clock.look(present, expected, now)
        # Who were cut off together come back one by one: the last of them have not gone away alone.
        if present is not None and any(before[name] >= self._lost_after_seconds for name in before if name in present):
            self.away_seconds = self._clock.begin_anew()


def _publishers_of(known: ShardMap | None) -> frozenset[str]:
    sets = known.sets.values() if known is not None else ()
    return frozenset(each.publisher for each in sets if each.pending)
