"""`engram-store admin URL attach`: have a running node serve a checkpoint that lies on its disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands.admin.node_calls import node_of
from store_server.commands.arguments import TableName
from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from engram_store.v1 import admin_service_pb2 as pb

EXAMPLES: Final = (
    "engram-store admin grpc://127.0.0.1:50051 attach v41-flash --checkpoint /models/DeepSeek-V4.1-Flash",
)


@takes_groups
def attach(
    context: typer.Context,
    *,
    name: TableName,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            metavar="DIR",
            help="Its directory on the node's host, below one of serve --allow-source file:///DIR.",
            show_default=False,
        ),
    ],
    timeout: Annotated[float, typer.Option(min=1, max=3600, metavar="SECONDS", help="For the whole call.")] = 90.0,
    connection: ConnectionOptions,
) -> None:
    """Make tables of a checkpoint that lie where they are, as `engram-store attach` does beside the node.

    Needs the scope `write` or `admin` on each of the tables. Exit status 1 if the node does not serve them in the end.
    """
    response = run_stoppable(_attach(context.obj, connection, timeout, name, checkpoint))
    for table in response.tables:
        typer.echo(f"table    {table.name}\nversion  {table.version}")
        typer.echo(f"rows     {table.num_rows:,}\nbytes    {table.num_bytes:,}")
        typer.echo(f"fingerprint  {table.fingerprint or '-'}")
        if table.unchanged:
            typer.echo(f"unchanged: version {table.version} is already current")
    if response.unknown_hashing:
        typer.echo(f"note     no fingerprint: {response.unknown_hashing}")
    if not all(table.served for table in response.tables):
        raise CommandFailed("attached, and not served yet: see `admin URL status` in a while, and the node's log")


async def _attach(
    url: str, connection: ConnectionOptions, timeout: float, name: str, checkpoint: str
) -> pb.AttachTableResponse:
    from engram_store.v1 import admin_service_pb2 as pb

    async with node_of(url, connection, timeout) as node:
        request = pb.AttachTableRequest(name=name, checkpoint=checkpoint)
        return await node.call("AttachTable", request, pb.AttachTableResponse)
