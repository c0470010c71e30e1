"""`engram-store forget`: give back the memory of what was current before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from store_server.commands import cluster_options
from store_server.commands.cluster_access import ClusterUrl, SetName, access_of, cluster_failures
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_server.cluster.cluster_config import ClusterConfig

EXAMPLES: Final = ("engram-store forget --cluster etcd://10.0.0.9:2379/prod --set demo",)


def forget(
    cluster: ClusterUrl,
    set_name: SetName,
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
) -> None:
    """Forget the previous versions of a set of tables: they can no longer be rolled back to.

    Nodes let go of them once nobody reads them (serve --retire-after), and give their memory back a while later
    (serve --keep-seconds).
    """
    with cluster_failures():
        config = access_of(cluster, password_file, etcd_ca, etcd_cert, etcd_key)
        versions = run_stoppable(_forget(config, set_name))
    for table, version in sorted(versions.items()):
        typer.echo(f"forgotten  {set_name}  {table}  {version}")


async def _forget(config: ClusterConfig, set_name: str) -> Mapping[str, str]:
    from store_server.cluster.living_cluster import living_cluster

    async with living_cluster(config) as cluster:
        return await cluster.forget(set_name)
