"""`engram-store unpublish`: take tables out of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands import cluster_options
from store_server.commands.cluster_access import ClusterUrl, access_of, cluster_failures
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engram_store.shard_map import VersionKey
    from store_server.cluster.cluster_config import ClusterConfig

EXAMPLES: Final = (
    "engram-store unpublish demo demo/layer-1 --cluster etcd://10.0.0.9:2379/prod",
    "engram-store unpublish demo --all --cluster etcd://10.0.0.9:2379/prod",
)


def unpublish(
    set_name: Annotated[str, typer.Argument(metavar="SET", help="The set of tables.", show_default=False)],
    cluster: ClusterUrl,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="TABLE...", help="Tables to remove.", show_default=False)
    ] = None,
    all_tables: Annotated[bool, typer.Option("--all", help="Remove the whole set.")] = False,
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
) -> None:
    """Remove tables of a set from a cluster with all their versions, or with --all the whole set. There is no way back.

    Clients that open the tables do not find them any more. Nodes let go of the versions once nobody reads them (serve
    --retire-after), and give their memory back a while later (serve --keep-seconds). Data roots that the tables were
    published from keep them; what is just being published of them is given up.
    """
    if bool(tables) == all_tables:
        raise typer.BadParameter(f"name a TABLE of {set_name}, or give --all to remove the whole set")
    with cluster_failures():
        config = access_of(cluster, password_file, etcd_ca, etcd_cert, etcd_key)
        removed = run_stoppable(_unpublish(config, set_name, tables or ()))
    for (table, version), num_bytes in removed.items():
        typer.echo(f"unpublished  {set_name}  {table}  {version}  {num_bytes:,} bytes on nodes")


async def _unpublish(config: ClusterConfig, set_name: str, tables: Sequence[str]) -> Mapping[VersionKey, int]:
    from store_server.cluster.living_cluster import living_cluster

    async with living_cluster(config) as cluster:
        return await cluster.unpublish(set_name, tables)
