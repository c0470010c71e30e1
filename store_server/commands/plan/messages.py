"""What rows cost on the wire: messages as the codec writes them, and what gRPC, HTTP/2 and Ethernet put around."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from engram_store.codec import Request, encode_stream_reply, encode_stream_requests
from store_server.config import ServerConfig

if TYPE_CHECKING:
    from store_server.commands.plan.workload import Workload

# The client cuts what it asks of a node into replies of about this size.
PIECE_BYTES: Final = 2 << 20
ROW_NUMBER_BYTES: Final = 8
# Bytes on the cable for the bytes of a full packet at an MTU of 1,500: Ethernet takes 38 more than that; IP, TCP and
# its timestamps take 52 of it.
PACKET_BYTES: Final = 1538
PACKET_PAYLOAD_BYTES: Final = 1448
_GRPC_PREFIX_BYTES: Final = 5
_HTTP2_HEADER_BYTES: Final = 9
_HTTP2_FRAME_BYTES: Final = 16 << 10
_TYPICAL_TABLE: Final = "v41-flash/layer-14"
_TYPICAL_VERSION: Final = "0123456789abcdef" * 2
_TYPICAL_ID: Final = 1_000_000
_DEFAULTS: Final = ServerConfig(root=Path())


class Message(NamedTuple):
    """One message in bytes: the row numbers or rows in it, and what is put around them."""

    payload: float
    around: float

    @property
    def wire_bytes(self) -> float:
        """What it takes of the cable, in packets that are full."""
        return (self.payload + self.around) * PACKET_BYTES / PACKET_PAYLOAD_BYTES


class Traffic(NamedTuple):
    """The messages of a workload, of all nodes together."""

    requests_per_second: float
    rows_a_request: float
    request: Message
    reply: Message

    @property
    def received_bits_per_second(self) -> float:
        """What the nodes receive, and the clients send."""
        return self.requests_per_second * self.request.wire_bytes * 8

    @property
    def sent_bits_per_second(self) -> float:
        """What the nodes send, and the clients receive."""
        return self.requests_per_second * self.reply.wire_bytes * 8


def traffic_of(workload: Workload, num_nodes: int) -> Traffic:
    """Return what is sent when a fetch is spread over all nodes, or over as many as it has rows."""
    row_bytes = workload.model.row_bytes
    nodes_a_fetch = max(1.0, min(num_nodes, workload.rows_a_fetch))
    rows = rows_a_piece(workload.rows_a_fetch / nodes_a_fetch, row_bytes)
    return Traffic(
        workload.rows_per_second / rows,
        rows,
        Message(rows * ROW_NUMBER_BYTES, _around_request(math.ceil(rows))),
        Message(rows * row_bytes, _around_reply(math.ceil(rows), row_bytes)),
    )


def rows_a_piece(rows: float, row_bytes: int) -> float:
    """Return the rows of each request when so many are asked of a node at once: it is cut into pieces of one size."""
    most_rows = _DEFAULTS.rows_per_lookup(row_bytes)
    return rows / max(1, round(rows * row_bytes / PIECE_BYTES), math.ceil(rows / most_rows))


def _around_request(num_rows: int) -> float:
    rows = np.zeros(num_rows, np.int64)
    message = encode_stream_requests([Request(_TYPICAL_ID, _TYPICAL_TABLE, _TYPICAL_VERSION, rows)])
    return len(message) - rows.nbytes + _framing(len(message))


def _around_reply(num_rows: int, row_bytes: int) -> float:
    rows = np.zeros(num_rows * row_bytes, np.uint8)
    message = encode_stream_reply(_TYPICAL_ID, _TYPICAL_VERSION, rows)
    return len(message) - rows.nbytes + _framing(len(message))


def _framing(num_bytes: int) -> float:
    """Return what gRPC puts before a message and HTTP/2 before its frames."""
    return _GRPC_PREFIX_BYTES + num_bytes / _HTTP2_FRAME_BYTES * _HTTP2_HEADER_BYTES
