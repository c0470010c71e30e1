"""What the options of a node come to: settings for each of its processes, or what is wrong with them."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store_server.commands.setting_layers.names import PREFIX
from store_server.config import ServerConfig
from store_server.workers.settings import divided

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store_server.commands.serve_options import ServeOptions
    from store_server.commands.setting_layers.layer import Layer
    from store_server.placement import Placement


class SettingsRefused(Exception):
    """A node cannot be started with these settings; `problems` are all that was found, a sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSettings:
    """Of a node as a whole, and of each of its processes."""

    config: ServerConfig
    configs: Sequence[ServerConfig]
    placements: Sequence[Placement | None]


def checked(options: ServeOptions, layers: Layer) -> CheckedSettings:
    """Return the settings; `layers` is where they come from besides the command line. Raises SettingsRefused."""
    problems = list(layers.problems)
    if options.root is None and not layers.problems:  # or one is in a file that cannot be read
        problems.append(f"which data root? Give ROOT, {PREFIX}ROOT or `root` in the file that --config names")
    config = ServerConfig(root=options.root or Path())
    placements: list[Placement | None] = []
    configs: list[ServerConfig] = []
    for group in options.groups():
        with _noting(problems, group):
            config = dataclasses.replace(config, **group.settings())  # each by itself: one that is wrong is left out
        problems += group.problems()
    with _noting(problems):
        placements = options.processes.placements()
    with _noting(problems):
        configs = divided(config, options.processes.workers)
    if problems:
        raise SettingsRefused(problems)
    return CheckedSettings(config=config, configs=configs, placements=placements)


@contextmanager
def _noting(problems: list[str], group: object = None) -> Iterator[None]:
    """Add what is wrong, with the name of an option of this group where it begins with that of a setting."""
    try:
        yield
    except ValueError as error:
        name, space, rest = str(error).partition(" ")
        option = f"--{name.replace('_', '-')}" if hasattr(group, name) else name
        problems.append(f"{option}{space}{rest}")
