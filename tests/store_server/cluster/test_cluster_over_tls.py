"""A cluster in which nodes and clients show each other certificates: rows are copied and fetched by TLS alone."""

import asyncio
import dataclasses

import numpy as np
import pytest
from support.certificates import make_authority, make_certificate
from support.network import free_ports
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

import engram_client
from engram_store.shard_map import Node, Shard, write_shard_map
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.node_security import NodeSecurity
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot, StorageError, root_writer
from store_server.tls_config import TlsConfig

ROWS = random_rows(100, 16)
PATIENCE_SECONDS = 60


class TlsCluster:
    """Two nodes: `a` has a table, and by the map `b` is to have it, too."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = make_authority(folder, "authority")
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip("ab", free_ports(2), strict=True)}
        version = write_table(folder / "a", "layer-1", ROWS)
        with root_writer(folder / "b"):
            pass
        manifest = DataRoot.open(folder / "a").manifest("layer-1", version)
        found = shard_map_of(*(Node(id=name, address=address) for name, address in self.addresses.items()), replicas=2)
        (described,) = found.versions.values()
        described = dataclasses.replace(
            described,
            version=version,
            block_rows=manifest.block_rows,
            row_format="",
            fingerprint="",
            shards=(Shard(end_row=100, holders=(0, 1)),),
        )
        table_set = dataclasses.replace(found.sets["model"], current={"layer-1": version})
        found = dataclasses.replace(found, versions={described.key: described}, sets={"model": table_set})
        (folder / "map.json").write_text(write_shard_map(found))

    def node(self, name):
        own = make_certificate(self.folder, name, self.authority)
        ca = self.authority.cert
        return running(
            ServerConfig(
                root=self.folder / name,
                listen=self.addresses[name],
                tls=TlsConfig(cert_file=own.cert, key_file=own.key, client_ca_file=ca),
                cluster=ClusterConfig(
                    url=f"file://{self.folder}/map.json",
                    node_id=name,
                    to_nodes=NodeSecurity(ca_file=ca, cert_file=own.cert, key_file=own.key),
                ),
                reload_seconds=0.1,
                drain_seconds=0.5,
            )
        )

    def connect(self):
        me = make_certificate(self.folder, "client", self.authority)
        url = f"grpcs://{','.join(self.addresses.values())}"
        return engram_client.connect(
            url, ca_file=self.authority.cert, cert_file=me.cert, key_file=me.key, timeout=PATIENCE_SECONDS
        )

    async def b_has_copied(self):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await asyncio.to_thread(self._has_b):
                await asyncio.sleep(0.05)

    def _has_b(self):
        try:
            return bool(DataRoot.open(self.folder / "b").current_version("layer-1"))
        except StorageError:
            return False


async def test_rows_are_copied_and_fetched_by_tls(tmp_path):
    cluster = TlsCluster(tmp_path)
    async with cluster.node("b"), cluster.connect() as store:
        async with cluster.node("a"):
            await cluster.b_has_copied()
            table = await store.table("layer-1")
            assert np.array_equal(await table.fetch([3, 1, 4]), ROWS[[3, 1, 4]])

        assert np.array_equal(await table.fetch([1, 5, 9]), ROWS[[1, 5, 9]])


def test_a_node_with_tls_has_to_know_how_to_speak_to_the_others(tmp_path):
    own = make_certificate(tmp_path, "own", make_authority(tmp_path, "authority"))

    with pytest.raises(ValueError, match="with --tls-cert give --node-ca too"):
        ServerConfig(
            root=tmp_path,
            tls=TlsConfig(cert_file=own.cert, key_file=own.key),
            cluster=ClusterConfig(url="file:///m", node_id="a"),
        )
