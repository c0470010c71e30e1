"""`config show`: the settings that `serve` would have, and where each comes from."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from store_server.commands.byte_size import byte_size_text
from store_server.commands.failure import CommandFailed
from store_server.commands.option_groups import takes_groups
from store_server.commands.serve_options import ServeOptions, setting_names
from store_server.commands.setting_layers.layers import layers_of, origin_of, settings_of
from store_server.commands.setting_layers.names import Setting, key_of
from store_server.commands.setting_lines import ShownSetting, as_table, as_toml

EXAMPLES: Final = (
    "engram-store config show --config /etc/engram-store/node.toml",
    "engram-store config show --config /etc/engram-store/node.toml --workers 4 --toml",
)


@takes_groups
def config_show(
    context: typer.Context,
    options: ServeOptions,  # noqa: ARG001  # as `serve` takes them; shown is what they were given as
    toml: Annotated[bool, typer.Option("--toml", help="Print a file for --config.")] = False,
) -> None:
    """Show each setting of a node, its value and where it comes from: a flag, a variable, a file, or the default.

    Takes what `serve` takes, of which each option is a setting. No setting is a secret: those are in files of their
    own, and settings name the files.
    """
    layers = layers_of(context)
    shown = [
        ShownSetting(key_of(setting), _as_written(setting, context), origin_of(context, setting.name))
        for setting in settings_of(context, setting_names())
    ]
    for line in as_toml(shown) if toml else as_table(shown):
        typer.echo(line)
    for remark in layers.remarks:
        typer.echo(f"warning: {remark}", err=True)
    if layers.problems:
        raise CommandFailed("; ".join(layers.problems))


def _as_written(setting: Setting, context: typer.Context) -> object:
    value = context.params[setting.name]
    return byte_size_text(value) if setting.metavar == "BYTES" and isinstance(value, int) else value
