"""`serve`: run a node until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer
import uvloop

from store_server.allocator import keep_freed_memory
from store_server.commands.byte_size import parse_byte_size
from store_server.commands.failure import CommandFailed
from store_server.config import ServerConfig
from store_server.file_limit import raise_file_limit
from store_server.listen_address import CannotListen
from store_server.node import NodeFailed, running

log = structlog.get_logger()

EXAMPLES: Final = (
    "engram-store serve ./data --listen 0.0.0.0:50051 --memory-budget 64GiB",
    "engram-store serve ./data --in-memory demo/layer-1",
)


def serve(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Data root with the tables to serve.")],
    listen: Annotated[
        str, typer.Option(help="HOST:PORT to listen on (port 0 picks a free one), or unix:///PATH.")
    ] = "127.0.0.1:50051",
    in_memory: Annotated[
        list[str] | None,
        typer.Option("--in-memory", metavar="NAME", help="Load this table into RAM. May be given several times."),
    ] = None,
    huge_pages: Annotated[bool, typer.Option(help="Ask for huge pages for the tables in RAM.")] = False,
    memory_budget: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            parser=parse_byte_size,
            help="How much of the mapped tables may lie in RAM, such as 8GiB; what was not used lately goes.",
        ),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="After SIGTERM, how long lookups that are under way may take.")
    ] = 10.0,
) -> None:
    """Serve the tables of a data root over gRPC.

    Prints one line, "listening on HOST:PORT", when it is ready. SIGTERM or SIGINT (Ctrl-C) finishes what is under way
    and ends with exit code 0; a second one ends at once.
    """
    _log_to_stderr()
    keep_freed_memory()
    raise_file_limit()
    try:
        config = ServerConfig(
            root=root,
            listen=listen,
            in_memory=frozenset(in_memory or ()),
            huge_pages=huge_pages,
            memory_budget_bytes=memory_budget,
            drain_seconds=drain_seconds,
        )
        uvloop.run(_serve(config))
    except (ValueError, NodeFailed, CannotListen) as error:
        raise CommandFailed(str(error)) from error


async def _serve(config: ServerConfig) -> None:
    ready, stop = asyncio.Event(), asyncio.Event()
    _on_signals(ready, stop)
    async with running(config) as node:
        ready.set()
        typer.echo(f"listening on {node.address}")
        sys.stdout.flush()
        await stop.wait()
        await node.drain()


def _on_signals(ready: asyncio.Event, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        is_second = stop.is_set()
        stop.set()
        log.info("second signal, ending at once" if is_second else "signal received", signal=number.name)
        if is_second:
            os._exit(128 + number)
        if not ready.is_set():  # tables are being loaded, which may take long, and nothing is under way
            os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=_StderrLogger,
    )


class _StderrLogger:
    """Writes lines to standard error. One that cannot be written, as its reader is gone or a disk full, stops nothing.

    Past `sys.stderr`, which would keep such a line and fail again at the end of the process.
    """

    def __init__(self, *_: object) -> None:
        """Take what structlog gives a factory, the name of the logger."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{line}\n".encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg
