"""The node that is fuzzed over the wire: one of a cluster, with a table in every way of holding one."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from fuzz.of_credentials import TOKENS, entry
from fuzz.sentinels import Sentinels
from fuzz.target import Wrong
from numpy.typing import NDArray
from support.checkpoints import attach_rows
from support.processes import NodeProcess
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, TableSet, write_shard_map

IN_MEMORY: Final = "ram"
_TABLES: Final = ("m/layer-1", "tree", IN_MEMORY, "attached")
_NUM_ROWS, _ROW_BYTES = 3_000, 264
_TIME_LIMIT_SECONDS: Final = 10.0
_TRACEBACK: Final = re.compile(r"Traceback \(most recent call last\):\n(?:[ ].*\n)*(?P<error>\S.*)")
SOME_READER, READER, FORMER_READER = TOKENS
"""Whom a guarded node knows: one who may read `m/*`, one who may read everything, one whose token has expired."""
_READS: Final = 'scopes = ["read"]'
_TOKENS_FILE: Final = "\n".join(
    (
        entry(SOME_READER, 'name = "some"', _READS, 'tables = ["m/*"]'),
        entry(READER, 'name = "all"', _READS, 'tables = ["*"]'),
        entry(FORMER_READER, 'name = "former"', _READS, 'tables = ["*"]', "expires = 2020-01-01T00:00:00Z"),
    )
)
_LINE_OF_GRPC: Final = re.compile(
    r"^[EWI]\d{4} .*\n", re.MULTILINE
)  # from any thread, in the middle of what others say
# gRPC's own words for a client that went away in the middle of a reply, and for metadata that are no text.
_OF_GRPC: Final = ("grpc._cython.cygrpc.", "UnicodeDecodeError: 'utf-8' codec can't decode byte")


class Ports(NamedTuple):
    """Where a node listens beside its own address: what Prometheus and probes come to."""

    metrics: int
    health: int


class FuzzedNode:
    """A real node, the rows that it must return, and names that lead out of its root. Made by `fuzzed_node`."""

    def __init__(
        self, process: NodeProcess, ports: Ports, rows: dict[str, NDArray[np.uint8]], versions: dict[str, str]
    ) -> None:
        self.address = process.address
        self.ports = ports
        self.rows, self.versions = rows, versions
        self.token: str | None = None
        """What an ordinary client shows."""
        self.ways_out: list[str] = []
        self._process = process

    @property
    def pid(self) -> int:
        """The process that answers."""
        return self._process.process.pid

    async def check_right_rows(self) -> None:
        """Fetch rows of every table as any client does; raises Wrong, or what the client raises."""
        ids = np.arange(0, _NUM_ROWS, 7)
        url = f"grpc://{self.address}"
        async with engram_client.connect(url, timeout=_TIME_LIMIT_SECONDS, token=self.token) as store:
            for name, rows in self.rows.items():
                table = await store.table(name)
                if not np.array_equal(await table.fetch(ids), rows[ids]):
                    raise Wrong(f"wrong rows of table {name!r}")

    def check_alive(self) -> None:
        """Raise Wrong if the process has ended, or has logged an error that nobody expected."""
        if (code := self._process.process.poll()) is not None:
            raise Wrong(f"the node ended with {code}: {self._process.log[-2000:]}")
        for end in _TRACEBACK.finditer(_LINE_OF_GRPC.sub("", self._process.log)):
            if not end["error"].startswith(_OF_GRPC):
                raise Wrong(f"the node logged {end[0]:.3000}")
        if any(token.secret in self._process.log for token in TOKENS):
            raise Wrong("a secret is in the log")

    def seen_by(self, *tables: str) -> FuzzedNode:
        """Return the node as it is for who may read these tables alone."""
        seen = copy.copy(self)
        seen.rows = {table: self.rows[table] for table in tables}
        return seen


@contextlib.contextmanager
def fuzzed_node(directory: Path, *, is_guarded: bool = False) -> Iterator[FuzzedNode]:
    """Run a node as long as the block lasts; at its end it has touched nothing around its root.

    One that is guarded admits nobody without a token.
    """
    root = directory / "root"
    rows = {name: random_rows(_NUM_ROWS, _ROW_BYTES, seed) for seed, name in enumerate(_TABLES)}
    versions = {name: _write(root, name, rows[name]) for name in _TABLES}
    address = f"127.0.0.1:{_free_port()}"
    map_file = directory / "map.json"
    map_file.write_text(write_shard_map(_map_of(root, versions, address)))
    ports = Ports(_free_port(), _free_port())
    options = ["--cluster", f"file://{map_file}", "--node-id", "a", "--in-memory", IN_MEMORY]
    options += ["--metrics-listen", f"127.0.0.1:{ports.metrics}", "--health-listen", f"127.0.0.1:{ports.health}"]
    if is_guarded:
        (directory / "tokens.toml").touch(0o600)
        (directory / "tokens.toml").write_text(_TOKENS_FILE)
        options += ["--tokens", str(directory / "tokens.toml")]
    with Sentinels.planted(directory / "outside") as outside:
        process = NodeProcess(root, *options, listen=address, is_fresh=True)
        node = FuzzedNode(process, ports, rows, versions)
        node.token = READER.text() if is_guarded else None
        node.ways_out = outside.ways_from(root / "tables")
        try:
            yield node
        finally:
            if process.process.poll() is None:
                process.stop()
        outside.check()


def _write(root: Path, name: str, rows: NDArray[np.uint8]) -> str:
    if name == "attached":
        return attach_rows(root, name, rows)
    return write_table(root, name, rows, backend="lmdb" if name == "tree" else "mmap")


def _map_of(root: Path, versions: dict[str, str], address: str) -> ShardMap:
    sharded = [_sharded(root, name, version) for name, version in versions.items()]
    return ShardMap(
        cluster="fuzzed",
        epoch=1,
        replicas=1,
        nodes=(Node(id="a", address=address),),
        versions={each.key: each for each in sharded},
        sets={name: TableSet(name=name, current={name: version}) for name, version in versions.items()},
    )


def _sharded(root: Path, name: str, version: str) -> ShardedVersion:
    folder = root / "tables" / name.replace("/", "@") / "versions" / version
    manifest = json.loads((folder / "table.json").read_bytes())
    return ShardedVersion(
        table=name,
        version=version,
        num_rows=_NUM_ROWS,
        row_bytes=_ROW_BYTES,
        block_rows=manifest["block_rows"],
        shards=(Shard(end_row=_NUM_ROWS, holders=(0,)),),
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
