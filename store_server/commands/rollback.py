"""`engram-store rollback`: make the previous versions of a set current again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from store_server.commands import cluster_options
from store_server.commands.cluster_access import ClusterUrl, SetName, access_of, cluster_failures
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_server.cluster.cluster_config import ClusterConfig

EXAMPLES: Final = ("engram-store rollback --cluster etcd://10.0.0.9:2379/prod --set demo",)


def rollback(
    cluster: ClusterUrl,
    set_name: SetName,
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
) -> None:
    """Make the previous versions of a set of tables current, all together; the current ones are previous then.

    Nothing is copied: nodes hold the previous versions still. A second `rollback` takes the first one back.
    """
    with cluster_failures():
        config = access_of(cluster, password_file, etcd_ca, etcd_cert, etcd_key)
        current = run_stoppable(_roll_back(config, set_name))
    for table, version in sorted(current.items()):
        typer.echo(f"current  {set_name}  {table}  {version}")


async def _roll_back(config: ClusterConfig, set_name: str) -> Mapping[str, str]:
    from store_server.cluster.living_cluster import living_cluster

    async with living_cluster(config) as cluster:
        return await cluster.roll_back(set_name)
