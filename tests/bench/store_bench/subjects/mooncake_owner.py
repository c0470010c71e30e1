"""The process that owns Mooncake's rows: python -m bench.store_bench.subjects.mooncake_owner MASTER FILE NUM_ROWS."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench.store_bench.questions import ROW_BYTES, RowFile

# Read by the library when it is first imported: rows travel over TCP even between processes of one host; errors only.
os.environ.update({"MC_STORE_MEMCPY": "0", "GLOG_minloglevel": "2"})

ROWS_PER_OBJECT = 262_144
_BUFFER_BYTES = 256 << 20
_CONNECT_SECONDS = 30.0


def object_name(number: int) -> str:
    return f"rows-{number}"


def connected(master: str, *, segment_bytes: int) -> Any:
    """A store connected to the master, contributing `segment_bytes` of memory; rows really travel over TCP."""
    from mooncake.store import MooncakeDistributedStore

    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        store = MooncakeDistributedStore()
        code = store.setup("127.0.0.1", "P2PHANDSHAKE", segment_bytes, _BUFFER_BYTES, "tcp", "", master)
        if code == 0:
            return store
        if time.monotonic() > deadline:
            raise RuntimeError(f"Mooncake's master at {master} did not take us: setup returned {code}")
        time.sleep(0.2)


def main() -> None:
    master, path, num_rows = sys.argv[1:]
    file = RowFile(Path(path), int(num_rows))
    rows = file.rows()
    # Twice the rows, for what the allocator leaves between objects.
    store = connected(master, segment_bytes=max(64 << 20, 2 * rows.nbytes))
    for first in range(0, file.num_rows, ROWS_PER_OBJECT):
        code = store.put(object_name(first // ROWS_PER_OBJECT), rows[first : first + ROWS_PER_OBJECT].tobytes())
        if code != 0:
            raise SystemExit(f"Mooncake did not take rows {first} onward of {ROW_BYTES} bytes: put returned {code}")
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    store.close()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
