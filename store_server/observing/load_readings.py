"""What a node shows of the work that clients give it, of its limits, and of what went beyond them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store_server.limits.connections import Connections
    from store_server.limits.load import Load
    from store_server.observing.readings import Readings
    from store_server.services.stall_watch import StallWatch


def read_load(readings: Readings, load: Load) -> None:
    """Show how much is held for clients, and how often they were refused more."""
    pools = (load.request_bytes, load.reply_bytes)
    readings.gauge(
        "engram_in_flight_bytes",
        "Bytes of requests that wait and of replies that were not taken yet.",
        lambda: sum(pool.taken for pool in pools),
    )
    readings.gauge(
        "engram_in_flight_limit_bytes", "The most that there may be of them.", lambda: sum(pool.most for pool in pools)
    )
    readings.gauge("engram_queued", "Lookups that wait to be begun.", lambda: load.waiting.taken)
    readings.gauge("engram_queued_limit", "The most that there may be of them.", lambda: load.waiting.most)
    readings.gauge(
        "engram_queued_fullness_ratio",
        "How near the queue is to refusing a client more: at 1 it does. One client alone may fill half of it.",
        lambda: load.waiting.fullness,
    )
    readings.gauge(
        "engram_request_bytes_fullness_ratio",
        "How near the bytes of requests are to refusing a client more: at 1 they do.",
        lambda: load.request_bytes.fullness,
    )
    readings.gauge(
        "engram_reply_bytes_fullness_ratio",
        "How near the bytes of replies are to making a client wait until it took some: at 1 they do.",
        lambda: load.reply_bytes.fullness,
    )
    readings.counters(
        "engram_refused_total", "What was refused, by the limit that was reached.", "reason", load.refused.copy
    )


def read_connections(readings: Readings, connections: Connections, stall_watch: StallWatch) -> None:
    """Show how many connections there are, and how often a client was cut off."""
    readings.gauge("engram_connections", "Connections of clients.", lambda: connections.number)
    readings.counters(
        "engram_cut_off_total",
        "Connections that were cut off, and calls that were ended as their replies were not taken.",
        "reason",
        lambda: {"connection": connections.cut_off, "stalled": stall_watch.stalled},
    )
