"""`serve`: run a node until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

import structlog
import typer

from store_server.commands.checked_settings import SettingsRefused, checked
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.serve_options import ServeOptions
from store_server.commands.setting_layers.layers import layers_of
from store_server.commands.start_problems import expiry_problems
from store_server.listen_address import CannotListen
from store_server.logs import log_to_stderr
from store_server.notify import ServiceManager
from store_server.placement import CannotPlace, take_place
from store_server.storage import StorageError
from store_server.storage.data_root import TABLES
from store_server.storage.root_lock import root_lock
from store_server.workers.supervisor import WorkersFailed, supervise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store_server.commands.checked_settings import CheckedSettings
    from store_server.config import ServerConfig
    from store_server.placement import Placement

log = structlog.get_logger()

EXAMPLES: Final = (
    "engram-store serve ./data --memory-budget 64GiB",
    "engram-store serve ./data --in-memory demo/layer-1",
    "engram-store serve --config /etc/engram-store/node.toml",
    "engram-store serve ./data --listen 0.0.0.0:50051 --tls-cert node.pem --tls-key node.key --workers 4",
    "engram-store serve ./data --listen 10.0.0.1:50051 --insecure --cluster etcd://10.0.0.9:2379/prod --node-id n1",
)


@takes_groups
def serve(context: typer.Context, options: ServeOptions) -> None:
    """Serve the tables of a data root over gRPC.

    Prints one line, "listening on HOST:PORT", when it is ready. SIGTERM or SIGINT (Ctrl-C) tells clients to go to other
    nodes, if there are any, finishes what is under way and ends with exit code 0; a second one ends at once.

    With several workers, or --supervise, a worker that dies is started again, and a version that ends who reads it, as
    on a disk that fails under it, is served no longer from the second time on: see `verify`.

    Each option is also a variable of the environment, ENGRAM_LISTEN for --listen, and a key in the file of --config;
    that of --insecure is ENGRAM_SERVE_INSECURE, as ENGRAM_INSECURE is for clients.
    The command line goes first, then the environment, then the file. Where an option may be given several times, its
    variable has all values, separated by spaces, and the first of the three places that has any has all of them.
    """
    layers = layers_of(context)
    log_to_stderr(options.seeing.log_format)  # standard output is for where the node listens
    try:
        settings = checked(options, layers)
        if settings.config.cluster is not None:
            _make_root(settings.config.root)
        for remark in layers.remarks:
            log.warning("setting ignored", reason=remark)
        for problem in expiry_problems(options):
            log.error("certificate has expired", reason=problem)
        if len(settings.configs) > 1 or options.processes.supervise:
            code = _serve_with_workers(settings)
        else:
            code = _serve_here(settings.config, settings.placements[0])
    except (SettingsRefused, CannotPlace, CannotListen, WorkersFailed, StorageError) as error:
        raise CommandFailed(str(error)) from error
    if code:
        raise typer.Exit(code)


def _make_root(root: Path) -> None:
    """Make the data root of a node that begins with nothing: it fetches what the map gives it."""
    if not (root / TABLES).exists():
        with root_lock(root):
            return


def _serve_with_workers(settings: CheckedSettings) -> int:
    manager = ServiceManager.of(os.environ)

    def say_listening(address: str, is_alive: Callable[[], bool]) -> None:
        _say_listening(address, manager, is_alive)

    return asyncio.run(
        supervise(settings.configs, settings.placements, say_listening, settings.config, stops=manager.stopping)
    )


def _serve_here(config: ServerConfig, placement: Placement | None) -> int:
    from store_server.serving import ServingFailed  # not in the parent of workers: it needs none of this
    from store_server.serving import serve as serve_until_told

    take_place(placement)
    manager = ServiceManager.of(os.environ)
    try:
        serve_until_told(
            config, listening=lambda node: _say_listening(node.address, manager), stopping=manager.stopping
        )
    except ServingFailed as error:
        raise CommandFailed(str(error)) from error
    return 0


def _say_listening(address: str, manager: ServiceManager, is_alive: Callable[[], bool] = lambda: True) -> None:
    typer.echo(f"listening on {address}")
    sys.stdout.flush()
    manager.ready(f"listening on {address}", is_alive)
