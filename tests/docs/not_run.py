"""The few commands of a page that no test can run: each is held against the files that it speaks of instead."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
_TRY: Final = REPOSITORY / "try"  # where the commands are typed
_UNITS: Final = REPOSITORY / "deploy" / "systemd"

NOT_RUN: Final = {
    "docker": "needs an engine",
    "sh ../deploy/compose/make-secrets.sh": "asks an engine for a token",
    "helm": "needs a cluster of Kubernetes; tests/deploy renders the chart with these values",
    "kubectl": "needs a cluster of Kubernetes",
    "sudo": "changes the machine; `make deploy-check` tries the unit with systemd-analyze",
    "journalctl": "needs systemd",
}
"""How such a command begins, and why."""


def is_not_run(command: str) -> bool:
    """Whether a test can only look at a command."""
    return any(command == begin or command.startswith(f"{begin} ") for begin in NOT_RUN)


def complaints_about(command: str) -> Iterator[str]:
    """Say which of the files, units and values that a command names are not there."""
    words = shlex.split(command)
    for word in words:
        path = word.partition("[")[0]  # what follows are the extras of a package
        if path.startswith("..") and not (_TRY / path).resolve().exists():
            yield f"there is no {word}, as seen from the folder try"
    if "systemctl" in words or "journalctl" in words:
        yield from (f"there is no unit {name}" for name in words if _names_no_unit(name))
    if words[0] == "helm":
        yield from _unknown_values(words)


def values_of(command: str) -> dict[str, str]:
    """Return what a command of helm sets by --set NAME=VALUE."""
    words = shlex.split(command)
    pairs = [following for word, following in itertools.pairwise(words) if word == "--set"]
    return dict(pair.split("=", 1) for pair in pairs)


def _names_no_unit(word: str) -> bool:
    return word.startswith("engram") and not (_UNITS / f"{word.removesuffix('.service')}.service").exists()


def _unknown_values(words: list[str]) -> Iterator[str]:
    """Say which values the chart does not have; whether it takes what they are set to is for `make deploy-check`."""
    text = (REPOSITORY / "deploy" / "chart" / "values.yaml").read_text()
    for name in values_of(shlex.join(words)):
        if not re.search(rf"^{name.split('.')[0]}:", text, re.MULTILINE):
            yield f"the chart has no value {name}"
