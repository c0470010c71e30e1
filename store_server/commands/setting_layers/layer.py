"""Settings from one place, as far as they can be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from store_server.commands.setting_layers.names import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Values by the names of parameters, each with its origin, in words; and what is wrong in that place."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def take(self, context: typer.Context, setting: Setting, value: object, *, origin: str, said: str) -> None:
        """Add a value as the command line takes it, or a problem, which quotes it as it was `said`."""
        try:
            setting.process_value(context, value)
        except typer.BadParameter as error:
            self.problems.append(f"{said}: {error.message}")
        else:
            self.values[setting.name] = value
            self.origins[setting.name] = origin

    def over(self, lower: Layer) -> Layer:
        """Return both, of which this one counts where both have a value."""
        return Layer(
            values=lower.values | self.values,
            origins=lower.origins | self.origins,
            problems=self.problems + lower.problems,
            remarks=self.remarks + lower.remarks,
        )
