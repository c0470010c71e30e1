"""What a node shows of its cluster: whether nodes are missing, and copies of rows with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store_server.cluster.wholeness import Wholeness
    from store_server.observing.readings import Readings


def read_cluster(readings: Readings, wholeness: Wholeness) -> None:
    """Show it, as far as the node can see it: one that is cut off tells of its map alone."""
    readings.gauges(
        "engram_cluster_nodes",
        "Nodes that are in_map, and those of them that are alive.",
        "state",
        wholeness.nodes,
    )
    readings.counter(
        "engram_cluster_lost_nodes_total",
        "Nodes that left the shard map and had not been told to.",
        lambda: wholeness.num_lost,
    )
    readings.gauges(
        "engram_cluster_rows_short_of_replicas",
        "Rows of the current version with fewer living holders than there are to be copies.",
        "table",
        wholeness.short_rows,
    )
