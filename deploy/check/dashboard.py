"""The dashboard: its queries, which nobody else reads before Grafana does."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from check.conventions import JOB
from check.programs import complaints
from check.promql import unknown_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def problems(deploy: Path) -> Iterator[str]:
    """Say what is wrong with the dashboard."""
    board = json.loads((deploy / "chart" / "files" / "dashboard.json").read_text())
    variables = {each["name"] for each in board["templating"]["list"]} | {"__rate_interval"}
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in board["panels"]]
    if len(ids) != len(set(ids)):
        yield "two panels have the same id"
    for panel in panels:
        title = panel["title"]
        if panel["datasource"] != {"type": "prometheus", "uid": "${source}"}:
            yield f"{title}: must ask the data source that was chosen, not {panel['datasource']}"
        for target in panel["targets"]:
            yield from (f"{title}: {problem}" for problem in _unknown(target["expr"], variables))
    yield from _syntax([target["expr"] for panel in panels for target in panel["targets"]])


def _unknown(expression: str, variables: set[str]) -> Iterator[str]:
    yield from unknown_in(expression, JOB)
    for name in set(re.findall(r"\$(\w+)", expression)) - variables:
        yield f"there is no variable ${name}"


def _syntax(expressions: Sequence[str]) -> Iterator[str]:
    """Let promtool read them as if each were a rule."""
    filled = [each.replace("$__rate_interval", "5m").replace("$node", ".*") for each in expressions]
    rules = [{"record": f"panel:query:{number}", "expr": each} for number, each in enumerate(filled)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "queries.yaml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        yield from complaints("promtool", "check", "rules", file)
