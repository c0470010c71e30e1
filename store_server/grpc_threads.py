"""A setting of gRPC's core for processes of ours, whose calls all go through one event loop."""

from __future__ import annotations

import os
from typing import Final

# What gRPC's core calls experiments, though its newer releases have both on by default. A release that does not know
# them says so in a line of its log, and goes on as it would without.
_VARIABLE: Final = "GRPC_EXPERIMENTS"
_NO_THREADS_FOR_SOCKETS_ALONE: Final = "-event_engine_client,-event_engine_listener"


def poll_where_grpc_waits() -> None:
    """Let the thread that waits for gRPC's events read the sockets too. To be called before gRPC is imported.

    Otherwise threads of gRPC's own read them and wake that one, which wakes the event loop: a switch of threads more on
    the way of each request, a tenth of the time of a small lookup. Processes that this one starts do the same. Whoever
    has set GRPC_EXPERIMENTS is left alone.
    """
    os.environ.setdefault(_VARIABLE, _NO_THREADS_FOR_SOCKETS_ALONE)
