"""Flags over the environment over a file: where a command finds what its command line does not say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from store_server.commands.setting_layers.environment import from_environment
from store_server.commands.setting_layers.layer import Layer
from store_server.commands.setting_layers.names import Setting
from store_server.commands.setting_layers.toml_file import from_file

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import typer

_META: Final = "store_server.setting_layers"


def read_layers(context: typer.Context, names: Collection[str], config: Path | None) -> None:
    """Have a command find the settings of these names in the environment and in a file, too.

    To be called before the other parameters are looked at. What cannot be used is left out, and noted in the layers.
    """
    settings = settings_of(context, names)
    layer = from_environment(context, settings, os.environ)
    if config is not None:
        layer = layer.over(from_file(context, settings, config))
    context.default_map = layer.values
    context.meta[_META] = layer


def layers_of(context: typer.Context) -> Layer:
    """Return what was read for a command."""
    return cast("Layer", context.meta[_META])


def settings_of(context: typer.Context, names: Collection[str]) -> Sequence[Setting]:
    """Return the parameters of these names."""
    return [each for each in context.command.params if isinstance(each, Setting) and each.name in names]


def origin_of(context: typer.Context, name: str) -> str:
    """Return where the value of a setting comes from, in words."""
    source = context.get_parameter_source(name)
    if source is None or source.name == "DEFAULT":
        return "default"
    return "flag" if source.name == "COMMANDLINE" else layers_of(context).origins[name]
