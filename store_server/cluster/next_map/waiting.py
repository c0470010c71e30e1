"""How long nodes that are away are waited for, and versions without a name are kept: by this node's own clock."""

from __future__ import annotations

from collections.abc import Mapping

from engram_store.shard_map import ShardMap, VersionKey
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.next_map.away_clock import AwayClock
from store_server.cluster.next_map.lost_nodes import LossSettings, lost_nodes
from store_server.cluster.next_map.map_steps import MapStep, next_map
from store_server.cluster.next_map.retirement import RetirementSettings, overdue
from store_server.cluster.next_map.set_switch import importance
from store_server.cluster.registration import NodeRegistration


class Waiting:
    """Looks again and again at the map, None for none, and at who is present, None while that cannot be seen."""

    def __init__(self, config: ClusterConfig) -> None:
        self._loss = LossSettings(
            lost_after_seconds=config.lost_after_seconds, all_lost_after_seconds=config.all_lost_after_seconds
        )
        self._retirement = RetirementSettings(
            after_seconds=config.retire_after_seconds, at_latest_seconds=config.retire_at_latest_seconds
        )
        self._away: AwayClock[str] = AwayClock()
        self._unnamed: AwayClock[VersionKey] = AwayClock()
        self._away_seconds: Mapping[str, float] = {}
        self._retired_seconds: Mapping[VersionKey, float] = {}

    def look(self, known: ShardMap | None, present: Mapping[str, NodeRegistration] | None, now: float) -> None:
        """Take note of who and what is away. `now` is of a clock in seconds that never goes back."""
        nodes = [node.id for node in known.nodes] if known is not None else []
        before, self._away_seconds = self._away_seconds, self._away.look(present, nodes, now)
        # Nodes that were cut off together come back one by one: the last of them have not gone away alone.
        if present is not None and any(
            before[node] >= self._loss.lost_after_seconds for node in before if node in present
        ):
            self._away_seconds = self._away.begin_anew()
        if known is not None:
            named = importance(known.sets.values()) if present is not None else None  # else readers cannot be seen
            self._retired_seconds = self._unnamed.look(named, known.versions, now)

    def over(
        self, known: ShardMap | None, present: Mapping[str, NodeRegistration]
    ) -> tuple[frozenset[str], frozenset[VersionKey]]:
        """Return the nodes and the versions whose time is over: from then on another map may follow."""
        if known is None:
            return frozenset(), frozenset()
        lost = lost_nodes(known.nodes, present, self._away_seconds, self._loss)
        return lost, overdue(known, present, lost, self._retired_seconds, self._retirement)

    def next_map(self, known: ShardMap, present: Mapping[str, NodeRegistration]) -> MapStep:
        """Return the map that follows; takes seconds of a processor for a thousand nodes."""
        return next_map(
            known,
            present.values(),
            self._away_seconds,
            self._loss,
            retired_seconds=self._retired_seconds,
            retirement=self._retirement,
        )
