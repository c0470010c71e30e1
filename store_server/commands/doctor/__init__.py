"""`engram-store doctor`: what is wrong between a client and a store, or with the host of a node, and what to change."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.doctor.finding import Finding, Verdict, fail
from store_server.commands.doctor.here import DiskSilent, disk_silent, look_at_settings, look_here, place_of
from store_server.commands.doctor.report import as_json as json_of
from store_server.commands.doctor.report import lines_of, summary_of
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.serve_options.processes import ProcessOptions
from store_server.commands.serve_options.tables import TableOptions
from store_server.commands.settings_file import settings_in
from store_server.commands.stop_signals import run_stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engram_client.keyring import Keyring
    from engram_client.store import Store

EXAMPLES: Final = (
    "engram-store doctor grpcs://memory-node:50051 --ca-file ca.pem --token-file token",
    "engram-store doctor --root ./data --workers 4 --in-memory demo/layer-1 --huge-pages",
    "engram-store doctor --config /etc/engram-store/node.toml",
)
_MOST_STEP_SECONDS: Final = 5.0


@takes_groups
def doctor(
    context: typer.Context,  # noqa: ARG001  # of which groups of options are made
    *,
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", show_default=False, help="As for `connect`: grpcs://HOST:PORT")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT", help="Data root: check this host for a node that is to serve it, and compare rows."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings of a node, as for `serve`: check them, and this host for them."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Ends the whole look.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object in the end, instead of lines.")] = False,
    connection: ConnectionOptions,
    processes: ProcessOptions,
    tables: TableOptions,
) -> None:
    """Look for what is wrong, and say what to change.

    With a URL, where a client runs: names, connections, TLS, certificates, token, limits, tables, a row of each, round
    trip and throughput, ports of workers, nodes and copies of a cluster. With --root, where a node runs, and the
    options that it is to be served with, or with --config, which has them: files, memory, huge pages, NUMA, clock,
    disk; of --config also what `config check` finds, and the node's own certificate. Or both.

    Each check is "ok", "warn", "fail", or "unknown" where nobody can tell. Exit status 1 if any failed.
    """
    if url is None and root is None and config is None:
        raise typer.BadParameter("give a URL, --root ROOT or --config FILE, or a URL and one of these")
    findings: list[Finding] = []

    def take(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            for line in lines_of(finding):
                typer.echo(line)

    for finding in _look_here(root, config, processes, tables):
        take(finding)
    if url is not None:
        root_url = None if root is None else root.absolute().as_uri()
        run_stoppable(_look_there(url, connection, root_url, timeout, take))
    typer.echo(json.dumps(json_of(findings)) if as_json else summary_of(findings))
    if num_failed := sum(finding.verdict is Verdict.fail for finding in findings):
        raise CommandFailed(f"{num_failed} of {len(findings)} checks failed")


def _look_here(
    root: Path | None, config: Path | None, processes: ProcessOptions, tables: TableOptions
) -> Iterator[Finding]:
    settings = None if config is None else settings_in(config, root)
    if settings is not None:
        root = settings[0].root
    place = None
    if root is not None:
        try:
            place = place_of(root)
        except DiskSilent as error:  # all that follows would wait for it
            yield disk_silent(root, error)
            return
    if config is not None and settings is not None:
        options, layers = settings
        options = dataclasses.replace(
            options, processes=processes.over(options.processes), tables=tables.over(options.tables)
        )
        yield from look_at_settings(config, options, layers)
        processes, tables = options.processes, options.tables
    if root is not None and place is not None:
        yield from look_here(root, place, processes, tables)


async def _look_there(
    url: str, connection: ConnectionOptions, root: str | None, timeout: float, take: Callable[[Finding], None]
) -> None:
    from store_server.commands.doctor.visit import visit

    step_seconds = min(_MOST_STEP_SECONDS, timeout)
    try:
        addresses, keyring, store = _connected(url, connection, step_seconds)
    except ValueError as error:  # of a URL, of options, and of files that cannot be used
        take(fail("settings", url, str(error), "correct the URL or the options"))
        return
    try:
        async with asyncio.timeout(timeout), store:
            async for finding in visit(addresses, store, keyring, root, step_seconds):
                take(finding)
    except TimeoutError:
        change = "look at what came last, or give more time with --timeout"
        take(fail("time limit", url, f"not finished within {timeout:g} s", change))


def _connected(url: str, connection: ConnectionOptions, timeout: float) -> tuple[tuple[str, ...], Keyring, Store]:
    """Return what a URL and the options come to; nothing is sent. Raises ValueError."""
    import engram_client
    from engram_client.keyring import Keyring
    from engram_client.security import security_of
    from engram_client.url import parse_url

    parsed = parse_url(url)
    if parsed.scheme == "file":
        raise ValueError("file:/// has no node to visit: give --root instead")
    shown = connection.for_connect()
    keyring = Keyring(security_of(os.environ, tls=parsed.scheme == "grpcs", token=None, **shown))
    keyring.newest()
    return parsed.addresses, keyring, engram_client.connect(url, timeout=timeout, **shown)
