"""What `serve --config FILE` would be told, for other commands than `serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from store_server.commands.option_groups import takes_groups
from store_server.commands.serve_options import ServeOptions
from store_server.commands.setting_layers.layers import layers_of

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.commands.setting_layers.layer import Layer


def settings_in(file: Path, root: Path | None) -> tuple[ServeOptions, Layer]:
    """Return the options of a node by its environment and a file, and what is wrong there; `root` replaces theirs."""
    read: list[tuple[ServeOptions, Layer]] = []

    @takes_groups
    def serve(context: typer.Context, options: ServeOptions) -> None:
        read.append((options, layers_of(context)))

    app = typer.Typer(add_completion=False)
    app.command()(serve)
    arguments = [] if root is None else [str(root)]
    typer.main.get_command(app).main([*arguments, "--config", str(file)], standalone_mode=False)
    return read[0]
