"""`engram-store leave`: take a node out of its cluster for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands import cluster_options
from store_server.commands.cluster_access import ClusterUrl, access_of, cluster_failures
from store_server.commands.progress import progress_bar_when_it_begins
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.cluster.cluster_config import ClusterConfig

EXAMPLES: Final = (
    "engram-store leave memory-3 --cluster etcd://10.0.0.9:2379/prod",
    "engram-store leave memory-3 --cluster etcd://10.0.0.9:2379/prod --cancel",
)


def leave(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its --node-id.")],
    cluster: ClusterUrl,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long other nodes may take to fetch what it holds.")
    ] = 3600.0,
    cancel: Annotated[bool, typer.Option("--cancel", help="Keep the node after all.")] = False,
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
) -> None:
    """Have other nodes of a cluster hold what a node holds, and say when it can be stopped. It serves until then.

    Not needed for a restart: a node that is stopped keeps its shards as long as the others wait for it. Interrupted,
    the node goes on leaving; the same command waits on.
    """
    with cluster_failures():
        config = access_of(cluster, password_file, etcd_ca, etcd_cert, etcd_key)
        if cancel:
            run_stoppable(_stay(config, node))
        else:
            run_stoppable(_leave(config, node, timeout))
    typer.echo(f"stays  {node}" if cancel else f"not needed any more  {node}  stop it now")


async def _leave(config: ClusterConfig, node: str, timeout: float) -> None:
    from store_server.cluster.departure import leave as leave_cluster
    from store_server.cluster.living_cluster import living_cluster

    with progress_bar_when_it_begins(f"emptying {node}") as progress:
        async with living_cluster(config) as cluster:
            await leave_cluster(cluster, node, timeout=timeout, progress=of_bytes_to_go(progress))


async def _stay(config: ClusterConfig, node: str) -> None:
    from store_server.cluster.departure import stay
    from store_server.cluster.living_cluster import living_cluster

    async with living_cluster(config) as cluster:
        await stay(cluster, node)


def of_bytes_to_go(progress: Callable[[int, int], None]) -> Callable[[int], None]:
    """Return what tells how many bytes of how many are done, given how many are to go; nothing if none ever were."""
    most = 0

    def of_to_go(to_go: int) -> None:
        nonlocal most
        most = max(most, to_go)
        if most:
            progress(most - to_go, most)

    return of_to_go
