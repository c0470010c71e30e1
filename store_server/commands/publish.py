"""`engram-store publish`: make new versions of tables current on the nodes of a cluster, all at once."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands import cluster_options
from store_server.commands.arguments import Root
from store_server.commands.cluster_access import ClusterUrl, SetName, access_of, cluster_failures
from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.progress import progress_bar_when_it_begins
from store_server.commands.stop_signals import run_stoppable
from store_server.listen_address import is_of_this_host
from store_server.logs import log_to_stderr
from store_server.storage import DataRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from store_server.cluster.cluster_config import ClusterConfig
    from store_server.cluster.registration import NodeRegistration
    from store_server.storage import Manifest

EXAMPLES: Final = (
    "engram-store publish ./data m/1 m/2 --set m --cluster etcd://10.0.0.9:2379/prod --serve-on 10.0.0.5:0 --insecure",
    "engram-store publish /data m/1 m/2 --set m --cluster etcd://10.0.0.9:2379/prod --source file:///data",
)
_ANY_HOST: Final = ("0.0.0.0:", "[::]:")  # compared with, not listened on


@takes_groups
def publish(
    context: typer.Context,  # noqa: ARG001  # of which groups of options are made
    *,
    root: Root,
    tables: Annotated[
        list[str],
        typer.Argument(metavar="TABLE...", help="Tables; TABLE@VERSION for another version than the current one."),
    ],
    cluster: ClusterUrl,
    set_name: SetName,
    serve_on: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where nodes fetch from this command, an address that all of them reach; port 0 picks a free one. "
            "Over TLS with --cert-file; with --ca-file nodes must show certificates, too.",
        ),
    ] = "127.0.0.1:0",
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Let only those fetch whom this file names with the scope replicate, as of `serve`: nodes show a "
            "token (serve --node-token-file) or a certificate (--node-cert). By default whoever reaches the port.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where nodes fetch instead: the same data root at file:///ROOT or http(s)://HOST/ROOT, which nodes "
            "must be told to use (serve --allow-source), or grpc(s)://HOST:PORT.",
        ),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="From now on, how many nodes of the cluster are to hold each row.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long nodes may take to fetch all of it.")
    ] = 3600.0,
    allow_change: Annotated[
        bool, typer.Option("--allow-change", help="Also if the rows are of another width, format or fingerprint.")
    ] = False,
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
    connection: ConnectionOptions,
) -> None:
    """Give new versions of a set of tables to the nodes of a cluster, and make them current together.

    Returns once they are. If it fails or is interrupted before, it takes them back, and what was current stays so; the
    same where it is killed or out of reach of the cluster's etcd for long: nodes drop the new versions when they have
    not seen it for a while (serve --lost-after), or another `publish` of the set replaces them. That one goes on with
    what the nodes have already.
    """
    if source is None and serve_on.startswith(_ANY_HOST):
        raise typer.BadParameter(f"--serve-on is the address that nodes are told, which {serve_on} is not")
    if source is not None and tokens is not None:
        raise typer.BadParameter(
            "--tokens is for nodes that fetch from this command, and --source sends them elsewhere"
        )
    log_to_stderr()  # who is refused, beside results on the other stream
    data_root = DataRoot.open(root)
    manifests = _manifests(data_root, tables)
    num_bytes = sum(manifest.num_bytes for manifest in manifests.values())
    with cluster_failures(), progress_bar_when_it_begins(f"publishing {set_name}") as progress:
        config = access_of(cluster, password_file, etcd_ca, etcd_cert, etcd_key)
        is_new = run_stoppable(
            _publish(
                config,
                data_root,
                set_name,
                manifests,
                serve_on=serve_on,
                tokens=tokens,
                source=source,
                connection=connection,
                replicas=replicas,
                timeout=timeout,
                allow_change=allow_change,
                progress=_of_one_copy(num_bytes, progress),
            )
        )
    for table, manifest in manifests.items():
        typer.echo(f"current  {set_name}  {table}  {manifest.version}  {manifest.num_bytes:,} bytes")
    if not is_new:
        typer.echo(f"unchanged: {'this version is' if len(manifests) == 1 else 'these versions are'} already current")


async def _publish(
    config: ClusterConfig,
    root: DataRoot,
    set_name: str,
    manifests: Mapping[str, Manifest],
    *,
    serve_on: str,
    tokens: Path | None,
    source: str | None,
    connection: ConnectionOptions,
    replicas: int | None,
    timeout: float,
    allow_change: bool,
    progress: Callable[[int, int], None],
) -> bool:
    """Return whether there was anything to make current."""
    from store_server.cluster.blocks.block_server import serving_blocks
    from store_server.cluster.blocks.block_source import block_source
    from store_server.cluster.living_cluster import living_cluster
    from store_server.cluster.node_channel import NodeChannels
    from store_server.cluster.publication import publish as publish_to

    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(living_cluster(config))
        if source is None:
            tls, may_leave_host = connection.for_listening()
            serving = serving_blocks(root, serve_on, tls, tokens=tokens, insecure=may_leave_host)
            address = await stack.enter_async_context(serving)
            require_reached(address, await cluster.living())
            source = f"{'grpc' if tls is None else 'grpcs'}://{address}"
        # Raises for a URL that no node could use; whether they may speak to it in plain text is for them to know.
        block_source(source, channels=NodeChannels(may_leave_host=True)).close()
        return await publish_to(
            cluster,
            set_name,
            manifests,
            source=source,
            replicas=replicas,
            allow_change=allow_change,
            timeout=timeout,
            progress=progress,
            say=_say,
        )


def require_reached(address: str, living: Mapping[str, NodeRegistration]) -> None:
    """See that nodes, by id, can fetch from an address of this host; on loopback they would ask themselves."""
    for name, each in sorted(living.items()) if is_of_this_host(address) else ():
        if not is_of_this_host(each.node.address):
            raise CommandFailed(
                f"nodes are to fetch from {address}, which only this host reaches, and node {name} is at "
                f"{each.node.address}: give --serve-on an address of this host that all nodes reach, or --source"
            )


def _manifests(root: DataRoot, tables: Sequence[str]) -> dict[str, Manifest]:
    """Return what is to be published, by table."""
    manifests: dict[str, Manifest] = {}
    for each in tables:
        table, _, version = each.partition("@")
        if table in manifests:
            raise CommandFailed(f"table {table!r} is given twice")
        manifests[table] = root.manifest(table, version or root.current_version(table))
    return manifests


def _of_one_copy(num_bytes: int, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Return what shows how much of the way to the last copy is done, in bytes of one of them."""
    return lambda held, wanted: progress(num_bytes * held // wanted if wanted else num_bytes, num_bytes)


def _say(reason: str) -> None:
    sys.stderr.write(f"{reason}\n")
