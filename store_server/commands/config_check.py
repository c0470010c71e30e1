"""`config check`: whether `serve` could start with its settings, and if not, all that is wrong."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import typer

from store_server.commands.checked_settings import SettingsRefused, checked
from store_server.commands.failure import CommandFailed
from store_server.commands.host_checks import not_free
from store_server.commands.option_groups import takes_groups
from store_server.commands.serve_options import ServeOptions
from store_server.commands.setting_layers.layers import layers_of
from store_server.listen_address import ListenAddress
from store_server.storage import StorageError
from store_server.storage.data_root import TABLES, DataRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES: Final = ("engram-store config check --config /etc/engram-store/node.toml",)


@takes_groups
def config_check(context: typer.Context, options: ServeOptions) -> None:
    """Check the settings of a node without starting it.

    Takes what `serve` takes. Each problem is a line; exit status 1 if there is any. Besides the settings themselves
    these are files that cannot be read, addresses that are taken, and a data root or tables to be loaded that are not
    there.
    """
    layers = layers_of(context)
    for remark in layers.remarks:
        typer.echo(f"warning: {remark}", err=True)
    problems: list[str] = []
    try:
        checked(options, layers)
    except SettingsRefused as error:
        problems += error.problems
    problems += _root_problems(options)
    problems += _listen_problems(options)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise CommandFailed(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found")
    typer.echo("settings are sound")


# A node checks what follows itself, by the same means, when it starts: it may come later, or be in other processes.


def _root_problems(options: ServeOptions) -> Iterator[str]:
    if options.root is None or (options.cluster.cluster is not None and not (options.root / TABLES).exists()):
        return  # one of a cluster begins with nothing
    try:
        root = DataRoot.open(options.root)
    except StorageError as error:
        yield str(error)
        return
    for name in options.tables.in_memory or ():
        try:
            root.current_version(name)
        except StorageError as error:
            yield f"--in-memory {name}: {error}"


def _listen_problems(options: ServeOptions) -> Iterator[str]:
    option_at: dict[str, str] = {}
    for option, address in _addresses(options):
        if address in option_at:
            yield f"{option}: {option_at[address]} has {address}, too"
        else:
            yield from not_free(option, address)
        if not address.endswith(":0"):
            option_at[address] = option


def _addresses(options: ServeOptions) -> Iterator[tuple[str, str]]:
    """Yield each address where the node would listen, with its option: --listen, of every worker, and --NAME-listen."""
    with suppress(ValueError):  # which the settings themselves are refused for
        listen = ListenAddress.parse(options.transport.listen)
        for number in range(options.processes.workers):
            yield "--listen", listen.of_worker(number)
    for group in options.groups():
        for field in dataclasses.fields(group):
            address = getattr(group, field.name)
            if field.name.endswith("_listen") and address is not None:
                yield f"--{field.name.replace('_', '-')}", address
