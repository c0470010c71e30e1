"""What is learned by asking the nodes of a map: of the right and the old, of the stopping and the silent."""

import asyncio
import contextlib
import dataclasses
import socket

import grpc
from support.network import free_ports
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node, Shard
from store_server.cluster.known_map import KnownMap
from store_server.cluster.node_answers import NodeAnswer, node_answers
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.services.calls import Calls
from store_server.services.cluster import ClusterService
from store_server.services.draining import Draining

PATIENCE_SECONDS = 30


@contextlib.asynccontextmanager
async def node_with(known, *, is_stopping=False):
    """Serve a map as a node does; gives the address."""
    draining = Draining()
    if is_stopping:
        draining.announce()
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((ClusterService(known, draining).handler(Calls(Load(Limits(), 1))),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def known_map(directory, shard_map=None):
    known = KnownMap(directory, cluster=None, is_kept=False)
    if shard_map is not None:
        known.take(shard_map)
    return known


async def test_each_node_is_asked_what_map_it_goes_by_and_whether_it_stops(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        known = {name: known_map(tmp_path) for name in ("right", "old", "other", "starting", "stopping")}
        addresses = {
            name: await stack.enter_async_context(node_with(each, is_stopping=name == "stopping"))
            for name, each in known.items()
        }
        addresses["alone"] = await stack.enter_async_context(node_with(None))
        old = shard_map_of(*(Node(id=name, address=address) for name, address in addresses.items()), epoch=6)
        newest = later(old)
        (version,) = newest.versions.values()
        edited = {version.key: dataclasses.replace(version, shards=(Shard(end_row=100, holders=(1,)),))}
        for name, each in known.items():
            if name != "starting":
                each.take({"old": old, "other": later(old, versions=edited)}.get(name, newest))

        assert await node_answers(newest, seconds=PATIENCE_SECONDS) == {
            "right": NodeAnswer(epoch=7),
            "old": NodeAnswer(epoch=6),
            "other": NodeAnswer(epoch=7, is_other_map=True),
            "starting": NodeAnswer(epoch=None),
            "stopping": NodeAnswer(epoch=7, is_stopping=True),
            "alone": NodeAnswer(epoch=0),
        }


async def test_nodes_that_are_not_there_or_stay_silent_are_not_waited_for(tmp_path):
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nodes = [
            Node(id="gone", address=f"127.0.0.1:{port}"),
            Node(id="silent", address=f"127.0.0.1:{silent.getsockname()[1]}"),
        ]

        answers = node_answers(shard_map_of(*nodes), seconds=0.2)

        assert await asyncio.wait_for(answers, PATIENCE_SECONDS) == {}
