"""`engram-store admin URL status`: how each process of a node is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands.admin.node_calls import nodes_of
from store_server.commands.admin.status_lines import lines_of
from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from store_server.commands.admin.node_calls import Visited

EXAMPLES: Final = (
    "engram-store admin grpc://127.0.0.1:50051 status",
    "engram-store admin grpcs://memory-1:50050 status --ca-file ca.pem --token-file token --json",
)


@takes_groups
def status(
    context: typer.Context,
    *,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="For each process.")] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object; numbers of 64 bits are texts in it, as in protobuf's JSON.")
    ] = False,
    connection: ConnectionOptions,
) -> None:
    """Say how each process of a node is: ready or draining, its limits, its tables and what lookups came to.

    Exit status 1 if one of them does not answer. Needs the scope `read` or `admin`; tables are those that may be read.
    """
    visited = run_stoppable(_visit(context.obj, connection, timeout))
    if as_json:
        typer.echo(json.dumps({"processes": [_as_json(each) for each in visited]}))
    else:
        for each in visited:
            for line in lines_of(each):
                typer.echo(line)
    silent = [each for each in visited if each.status is None]
    if silent:
        raise CommandFailed(f"{len(silent)} of {len(visited)} processes did not answer: {silent[0].failure}")


async def _visit(url: str, connection: ConnectionOptions, timeout: float) -> list[Visited]:
    async with nodes_of(url, connection, timeout) as nodes:
        return [each for node in nodes for each in await node.visit_all()]


def _as_json(visited: Visited) -> dict[str, object]:
    from google.protobuf.json_format import MessageToDict

    if visited.status is None:
        return {"address": visited.address, "error": visited.failure}
    said = MessageToDict(visited.status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {"address": visited.address, "status": said}
