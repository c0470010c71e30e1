"""What a node shows of its own state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.observing.readings import Readings
    from store_server.services.node_services import NodeServices


def read_node(
    readings: Readings, services: NodeServices, *, is_ready: Callable[[], bool], epoch: Callable[[], int]
) -> None:
    """Show whether it serves, and whom."""
    draining, lookups = services.draining, services.lookups
    readings.gauge("engram_node_ready", "Whether clients are served.", is_ready)
    readings.gauge("engram_draining", "Whether the node has told that it stops.", lambda: draining.is_announced)
    readings.gauge("engram_map_epoch", "Epoch of the shard map that the node knows, 0 for none.", epoch)
    readings.gauge("engram_streams", "Streams of lookups that are open.", lambda: lookups.num_streams)
