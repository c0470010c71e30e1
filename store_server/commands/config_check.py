"""`config check`: whether `serve` could start with its settings, and if not, all that is wrong."""

from __future__ import annotations

from typing import Final

import typer

from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.serve_options import ServeOptions
from store_server.commands.setting_layers.layers import layers_of
from store_server.commands.start_problems import address_problems, expiry_problems, setting_problems
from store_server.logs import log_to_stderr

EXAMPLES: Final = ("engram-store config check --config /etc/engram-store/node.toml",)


@takes_groups
def config_check(context: typer.Context, options: ServeOptions) -> None:
    """Check the settings of a node without starting it.

    Takes what `serve` takes. Each problem is a line; exit status 1 if there is any. Besides the settings themselves
    these are files that cannot be read, certificates that have expired, addresses that are taken, and a data root or
    tables to be loaded that are not there.
    """
    layers = layers_of(context)
    log_to_stderr(options.seeing.log_format)
    for remark in layers.remarks:
        typer.echo(f"warning: {remark}", err=True)
    problems = [*setting_problems(options, layers), *expiry_problems(options), *address_problems(options)]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise CommandFailed(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found")
    typer.echo("settings are sound")
