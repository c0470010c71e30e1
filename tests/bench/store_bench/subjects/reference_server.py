"""The reference socket's server: receives ids, checks their bounds, gathers and sends.

    python -m bench.store_bench.subjects.reference_server FILE [ROW_BYTES]

A request is a count and as many row numbers, all uint64 little-endian; the reply is the rows.
"""

from __future__ import annotations

import socket
import sys

import numpy as np
from bench.store_bench.questions import ROW_BYTES

_PIECE_ROWS = 2048


def main() -> None:
    table = np.fromfile(sys.argv[1], np.uint8).reshape(-1, ROW_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print("ready", listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                serve(connection, table)


def serve(connection: socket.socket, table: np.ndarray) -> None:
    """Answer one client until it goes."""
    count, ids = np.zeros(1, "<u8"), np.zeros(0, "<u8")
    piece = np.empty((_PIECE_ROWS, ROW_BYTES), np.uint8)
    while receive(connection, count):
        if len(ids) < count[0]:
            ids = np.zeros(count[0], "<u8")
        asked = ids[: count[0]]
        if not receive(connection, asked) or asked.max(initial=0) >= len(table):
            return
        rows = asked.view(np.int64)
        for start in range(0, len(rows), _PIECE_ROWS):
            some = rows[start : start + _PIECE_ROWS]
            np.take(table, some, axis=0, out=piece[: len(some)], mode="clip")
            connection.sendall(piece[: len(some)])


def receive(connection: socket.socket, array: np.ndarray) -> bool:
    """Fill the array; False if the client has gone."""
    rest = memoryview(array.view(np.uint8))
    while rest:
        received = connection.recv_into(rest)
        if not received:
            return False
        rest = rest[received:]
    return True


if __name__ == "__main__":
    main()
