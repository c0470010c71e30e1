"""`engram-store admin URL drain`: have the clients of a node go to others before it is stopped."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands.admin.node_calls import node_of
from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from collections.abc import Callable

    from engram_store.v1 import admin_service_pb2 as pb
    from store_server.commands.admin.node_calls import NodeCalls, Visited

EXAMPLES: Final = ("engram-store admin grpcs://memory-1:50050 drain --wait --ca-file ca.pem --token-file token",)
_CALL_SECONDS: Final = 10.0
_ANNOUNCED_SECONDS: Final = 10.0  # for all processes to have heard
_PAUSE_SECONDS: Final = 0.2


@takes_groups
def drain(
    context: typer.Context,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Return when nobody asks the node any more.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=86_400, metavar="SECONDS", help="How long --wait waits at most.")
    ] = 60.0,
    connection: ConnectionOptions,
) -> None:
    """Have all processes of a node tell clients to go to other nodes, and probes that it is not ready.

    It answers whoever asks still, until it is stopped by a signal; after that no lookup is lost. There is no way back
    but a restart. Needs the scope `admin` on all tables. Exit status 1 if not all processes have announced it, or with
    --wait if somebody asks still when the time is over.
    """
    visited = run_stoppable(_drain(context.obj, connection, timeout if wait else None))
    if wait:
        typer.echo(f"nobody asks any more  {context.obj}  stop it now")
    else:
        processes = f"{len(visited)} processes" if len(visited) > 1 else "1 process"
        typer.echo(f"draining  {context.obj}  {processes}; whoever asks still is answered")


async def _drain(url: str, connection: ConnectionOptions, quiet_seconds: float | None) -> list[Visited]:
    from engram_store.v1 import admin_service_pb2 as pb

    async with node_of(url, connection, _CALL_SECONDS) as node:
        await node.call("Drain", pb.DrainRequest(), pb.DrainResponse)
        visited = await _until(node, lambda status: status.draining, _ANNOUNCED_SECONDS, "have not announced it yet")
        if quiet_seconds is not None:
            change = "are asked still; look at their clients, or stop the node, which cuts off whoever has not gone"
            visited = await _until(node, lambda status: status.quiet, quiet_seconds, change)
        return visited


async def _until(
    node: NodeCalls, is_so: Callable[[pb.GetStatusResponse], bool], seconds: float, otherwise: str
) -> list[Visited]:
    """Visit all processes until it is so of each; raises CommandFailed after so many seconds."""
    latest = time.monotonic() + seconds
    while True:
        visited = await node.visit_all()
        others = [each for each in visited if each.status is None or not is_so(each.status)]
        if not others:
            return visited
        if time.monotonic() >= latest:
            failures = [f"{each.address}: {each.failure}" for each in others if each.failure]
            named = ", ".join(failures or [each.address for each in others])
            raise CommandFailed(f"after {seconds:g} s {len(others)} of {len(visited)} processes {otherwise} ({named})")
        await asyncio.sleep(_PAUSE_SECONDS)
