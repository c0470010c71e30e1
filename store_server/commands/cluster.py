"""`engram-store cluster`: what a cluster consists of, and what it lacks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands import cluster_options
from store_server.commands.cluster_access import access_of, cluster_failures
from store_server.commands.cluster_lines import Seen, lines
from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.option_groups import takes_groups
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.node_channel import NodeChannels

EXAMPLES: Final = ("engram-store cluster etcd://10.0.0.9:2379/prod",)


@takes_groups
def cluster(
    context: typer.Context,  # noqa: ARG001  # of which groups of options are made
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="etcd://[USER@]HOST:PORT[,HOST:PORT]/NAME or file:///PATH")],
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
    connection: ConnectionOptions,
) -> None:
    """Show the nodes, sets and versions of a cluster, and how many shards lack copies or are being copied.

    A node is alive if it is registered in etcd. Each one is asked, too: it may answer though it is away for the others,
    and goes by the map of some epoch. A living copy is on a node that is alive and answers; where the map is a file,
    on one that answers.
    """
    with cluster_failures():
        config = access_of(url, password_file, etcd_ca, etcd_cert, etcd_key)
        seen = run_stoppable(_look(config, connection.to_nodes()))
    for line in lines(seen):
        typer.echo(line)


async def _look(config: ClusterConfig, channels: NodeChannels) -> Seen:
    from store_server.cluster.living_cluster import living_cluster
    from store_server.cluster.node_answers import node_answers

    async with living_cluster(config) as cluster:
        shard_map = await cluster.shard_map()
        if not cluster.has_registry:
            return Seen(shard_map=shard_map, answers=await node_answers(shard_map, channels=channels))
        answers, living, publishers = await asyncio.gather(
            node_answers(shard_map, channels=channels), cluster.living(), cluster.living_publishers()
        )
        return Seen(shard_map=shard_map, answers=answers, living=living, publishers=publishers)
