"""Run one node in this process until it is told to stop: what `serve` does, and each of its workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop

from store_server.allocator import keep_freed_memory
from store_server.cluster.agreement.registry import NodeIdTaken, RegistryRefuses
from store_server.file_limit import raise_file_limit
from store_server.listen_address import CannotListen
from store_server.node import Node, running
from store_server.observing.metrics_port import metrics_shown
from store_server.opening import NodeFailed
from store_server.services.health_port import health_port
from store_server.storage import StorageError

if TYPE_CHECKING:
    from store_server.config import ServerConfig
    from store_server.services.health import Readiness

log = structlog.get_logger()


class ServingFailed(Exception):
    """The node cannot start; says why in a sentence."""


def serve(
    config: ServerConfig,
    *,
    listening: Callable[[Node], None],
    starting: Callable[[], None] = lambda: None,
    opening: Callable[[Node], None] = lambda _: None,
    stopping: Callable[[], None] = lambda: None,
    node: Callable[..., AbstractAsyncContextManager[Node]] = running,
    readiness: Readiness = lambda _: None,
) -> None:
    """Run a node, or one process of it. SIGTERM or SIGINT drains it and ends, a second one ends it at once.

    `starting` is called when its event loop runs, `opening` before its tables are opened, which may take long,
    `listening` once it listens, `stopping` before it drains; `node` is what runs one, as `running` does. `readiness` is
    told whether clients are served, unless the settings have a health port: then that is. Raises ServingFailed.
    """
    keep_freed_memory()
    raise_file_limit()
    try:
        running_node = node(config, around=partial(_shown, config, opening))
        uvloop.run(_serve(config, running_node, listening, starting, stopping, readiness))
    except (ValueError, NodeFailed, CannotListen, StorageError, NodeIdTaken, RegistryRefuses) as error:
        raise ServingFailed(str(error)) from error


async def _serve(
    config: ServerConfig,
    running_node: AbstractAsyncContextManager[Node],
    listening: Callable[[Node], None],
    starting: Callable[[], None],
    stopping: Callable[[], None],
    readiness: Readiness,
) -> None:
    ready, stop = asyncio.Event(), asyncio.Event()
    _on_signals(ready, stop)
    starting()
    async with _health_told(config, readiness) as told, running_node as node:
        ready.set()
        listening(node)
        node.tell_readiness(told)
        await _told_to_stop(node, stop)
        stopping()
        await node.drain()


@asynccontextmanager
async def _shown(config: ServerConfig, opening: Callable[[Node], None], node: Node) -> AsyncIterator[None]:
    """Show metrics as long as the block lasts: a node that loads its tables for minutes is seen to do so."""
    opening(node)
    async with metrics_shown(config, node.metrics.exposition_alone().text):
        yield


@asynccontextmanager
async def _health_told(config: ServerConfig, readiness: Readiness) -> AsyncIterator[Readiness]:
    """Return who is told whether clients are served: the health port, as long as the block lasts, if there is one."""
    if config.health_listen is None:
        yield readiness
        return
    async with health_port(config.health_listen) as port:
        yield port.tell


async def _told_to_stop(node: Node, stop: asyncio.Event) -> None:
    """Wait for `stop`. Raises ServingFailed when gRPC's server ends before: a process that serves nobody must end."""
    ended, told = asyncio.create_task(node.server_ended()), asyncio.create_task(stop.wait())
    await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        raise ServingFailed("gRPC ended the server by itself; the log above may say why")


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
