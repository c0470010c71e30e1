"""How much clients may ask of a node: settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

_LEAST_IN_FLIGHT_BYTES: Final = 64 << 20  # half of the part for replies holds some of the largest
_LEAST_MESSAGE_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What goes beyond any of these is refused at once. Checked on creation; raises ValueError."""

    max_connections: int = 1024
    """Connections of clients."""
    max_streams: int = 256
    """Calls and streams at the same time on one connection; a client's gRPC holds back what is beyond."""
    max_message_bytes: int = 4 << 20
    """One message to the node, which may not come compressed."""
    max_metadata_bytes: int = 16 << 10
    """The headers of one call."""
    max_queued: int = 4096
    """Lookups that wait to be begun."""
    max_in_flight_bytes: int = 512 << 20
    """Requests that wait and replies that were not taken yet. One client alone has half of it."""
    stall_seconds: float = 30.0
    """How long a client may leave a reply untaken."""

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_streams", "max_queued"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        for name, least in (
            ("max_message_bytes", _LEAST_MESSAGE_BYTES),
            ("max_metadata_bytes", 1024),
            ("max_in_flight_bytes", _LEAST_IN_FLIGHT_BYTES),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.stall_seconds <= 3600:
            raise ValueError(f"stall_seconds must be above 0 and at most 3600, got {self.stall_seconds:g}")

    def of_worker(self, workers: int) -> Limits:
        """Return the part that one of so many workers has of what is counted for the whole node."""
        return dataclasses.replace(
            self,
            max_connections=max(2, self.max_connections // workers),
            max_queued=max(2, self.max_queued // workers),
            max_in_flight_bytes=max(_LEAST_IN_FLIGHT_BYTES, self.max_in_flight_bytes // workers),
        )

    def grpc_options(self) -> tuple[tuple[str, int], ...]:
        """Return those that gRPC keeps by itself, as options of a server."""
        return (
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
            ("grpc.max_concurrent_streams", self.max_streams),
            # Only what is not compressed: its size once unpacked would be known too late.
            ("grpc.compression_enabled_algorithms_bitset", 1),
            # Who connects and says nothing, and who has nothing to say for long.
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.max_connection_idle_ms", 600_000),
        )
