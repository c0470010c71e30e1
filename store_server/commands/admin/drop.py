"""`engram-store admin URL drop`: have a running node remove an old version of a table, or the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands.admin.node_calls import node_of
from store_server.commands.arguments import TableName
from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.option_groups import takes_groups
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from engram_store.v1 import admin_service_pb2 as pb

EXAMPLES: Final = (
    "engram-store admin grpc://127.0.0.1:50051 drop demo/layer-1 0123456789abcdef0123456789abcdef",
    "engram-store admin grpc://127.0.0.1:50051 drop demo/layer-1 --all",
)


@takes_groups
def drop(
    context: typer.Context,
    *,
    name: TableName,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Version to remove.", show_default=False)
    ] = None,
    all_versions: Annotated[
        bool, typer.Option("--all", help="Remove the table with all its versions, the current one included.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, max=3600, metavar="SECONDS", help="For the whole call.")] = 90.0,
    connection: ConnectionOptions,
) -> None:
    """Remove a version of a table that is not current, or with --all the whole table. There is no way back.

    Needs the scope `write` or `admin` on the table. What the shard map of a cluster says is held is not removed.
    """
    if (version is None) == (not all_versions):
        raise typer.BadParameter(f"name a VERSION of {name}, or give --all to remove the whole table")
    response = run_stoppable(_drop(context.obj, connection, timeout, name, version or ""))
    typer.echo(f"dropped {name} {version or 'with all its versions'}")
    if not response.gone:
        typer.echo("note     the node has not let go of it yet: it cannot look at its disk; its log says why")


async def _drop(
    url: str, connection: ConnectionOptions, timeout: float, name: str, version: str
) -> pb.DropVersionResponse:
    from engram_store.v1 import admin_service_pb2 as pb

    async with node_of(url, connection, timeout) as node:
        request = pb.DropVersionRequest(table=name, version=version, whole_table=not version)
        return await node.call("DropVersion", request, pb.DropVersionResponse)
