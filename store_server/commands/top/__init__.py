"""`engram-store top`: nodes, tables, rates and latencies, as they are now."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from store_server.commands.top.sight import Sight

EXAMPLES: Final = (
    "engram-store top grpc://127.0.0.1:50051",
    "engram-store top grpcs://memory-1:50051 --ca-file ca.pem --token-file token --interval 5",
    "engram-store top grpc://127.0.0.1:50051 --once --json",
)


@takes_groups
def top(
    context: typer.Context,  # noqa: ARG001  # of which groups of options are made
    *,
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="As for `connect`; or ENGRAM_URL.", show_default=False)
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Between two looks, and what rates are of.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, show that, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object on a line for each look.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="How long an answer is waited for.")
    ] = 2.0,
    connection: ConnectionOptions,
) -> None:
    """Show the nodes of a store and its tables, what is asked of them now, and how long that takes.

    Of a cluster all nodes are shown, whichever the URL names, and of each node all its workers together. Rates are of
    the time since the look before. Latencies are those of nodes, without the way to them, and known to lie between two
    bounds of a histogram: that p99 is 1-2.5 ms says that 99 of 100 lookups took at most something between these.

    Needs the scope `read` or `admin`, and shows the tables that may be read. Ctrl-C ends it.
    """
    run_stoppable(_run(url, connection, interval, timeout, once=once, as_json=as_json))


async def _run(
    url: str | None, connection: ConnectionOptions, interval: float, timeout: float, *, once: bool, as_json: bool
) -> None:
    from store_server.commands.top.picture import picture_of
    from store_server.commands.top.view import JsonLines, View

    sight = _sight(url, connection, timeout)
    try:
        before = await sight.look()
        if all(node.answering == 0 for node in before.nodes):
            raise CommandFailed("; ".join(f"{node.address}: {node.failure}" for node in before.nodes))
        with JsonLines() if as_json else View(is_live=not once) as view:
            while True:
                await _until_next_look(before.at, interval)
                now = await sight.look()
                view.show(picture_of(before, now))
                if once:
                    return
                before = now
    finally:
        await sight.close()


async def _until_next_look(last: float, interval: float) -> None:
    await asyncio.sleep(max(0.0, last + interval - time.monotonic()))


def _sight(url: str | None, connection: ConnectionOptions, timeout: float) -> Sight:
    from engram_client.keyring import Keyring
    from engram_client.security import security_of
    from engram_client.url import parse_url
    from store_server.commands.top.sight import Sight

    try:
        parsed = parse_url(url)
        if parsed.scheme == "file":
            raise CommandFailed("file:/// has no node to look at: give grpc:// or grpcs://")
        shown = connection.for_connect()
        keyring = Keyring(security_of(os.environ, tls=parsed.scheme == "grpcs", token=None, **shown))
        keyring.newest()
    except ValueError as error:
        raise CommandFailed(str(error)) from error
    return Sight(parsed.addresses, keyring, timeout)
