"""EngramDB's binary TCP server on a free port: python -m bench.store_bench.subjects.engramdb_server ROOT."""

from __future__ import annotations

import sys

from engramdb import Database, EngramDBBinaryServer

if __name__ == "__main__":
    with EngramDBBinaryServer(Database(sys.argv[1]), port=0) as server:
        print("ready", server.server_address[1], flush=True)
        server.serve_forever()
