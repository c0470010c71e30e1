"""How YAML is written, where it is YAML: not in the chart's templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from check.programs import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def problems(deploy: Path) -> Iterator[str]:
    """Ask yamllint."""
    templates, secrets = deploy / "chart" / "templates", deploy / "compose" / "secrets"
    files = [
        file
        for file in sorted([*deploy.rglob("*.yaml"), *deploy.rglob("*.yml")])
        if templates not in file.parents and secrets not in file.parents
    ]
    yield from complaints("yamllint", "--strict", "--config-file", deploy / "check" / "yamllint.yaml", *files)
