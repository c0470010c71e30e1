"""The alert rules: read by promtool, tried on recorded series, and with an answer in the operator's page."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from check.conventions import JOB
from check.programs import complaints
from check.promql import unknown_in

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPERATE: Final = Path(__file__).parents[2] / "docs" / "operate.md"
_SEVERITIES: Final = {"warning", "critical"}
_SELECTOR: Final = re.compile(r"(\w+)\s*\{([^}]*)\}")
_REASON: Final = re.compile(r"""\breason\s*(?:=~|!~|!=|=)\s*(["'`])(.*?)\1""")


def problems(deploy: Path) -> Iterator[str]:
    """Say what is wrong with the rules and their series."""
    file = deploy / "chart" / "files" / "alerts.yaml"
    wrong = list(complaints("promtool", "check", "rules", "--lint-fatal", file))
    yield from wrong
    if wrong:
        return
    rules = [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        yield from (f"{rule['alert']}: {problem}" for problem in _of_rule(rule))
    tests = sorted((deploy / "alert_tests").glob("*.yaml"))
    yield from complaints("promtool", "test", "rules", *tests)
    tried = [test for each in tests for test in yaml.safe_load(each.read_text())["tests"]]
    yield from _unknown_reasons(tried)
    for rule in rules:
        yield from (f"{rule['alert']}: {problem}" for problem in _series(rule["alert"], tried))


def _of_rule(rule: dict[str, Any]) -> Iterator[str]:
    yield from unknown_in(rule["expr"], JOB)
    yield from _unknown_in_matchers(rule["expr"])
    if rule.get("labels", {}).get("severity") not in _SEVERITIES:
        yield f"severity must be one of {sorted(_SEVERITIES)}"
    if not rule.get("annotations", {}).get("summary"):
        yield "has no summary"
    wanted = f"docs/operate.md#{rule['alert'].lower()}"
    if rule.get("annotations", {}).get("runbook") != wanted:
        yield f"its runbook must be {wanted}"
    # The page comes after the rules; from then on it must answer all of them.
    if _OPERATE.exists() and not re.search(rf"^#+ {rule['alert']}$", _OPERATE.read_text(), re.MULTILINE):
        yield f"docs/operate.md has no section {rule['alert']}"


@functools.cache
def _reasons() -> dict[str, set[str]]:
    """Return the reasons that a node gives, by metric."""
    from engram_store.v1.error_reason_pb2 import ErrorReason
    from store_server.limits.limits import Limits
    from store_server.limits.load import Load

    return {
        "engram_lookup_failures_total": {name.removeprefix("ERROR_REASON_") for name, _ in ErrorReason.items()},
        "engram_refused_total": set(Load(Limits(), disk_turns=1).refused),
        "engram_cut_off_total": {"connection", "stalled"},
    }


def _unknown_reasons(tests: list[dict[str, Any]]) -> Iterator[str]:
    """Say which series have a reason that no node gives: a rule that is tried on those may never fire in earnest."""
    known = _reasons()
    for series in (each["series"] for test in tests for each in test["input_series"]):
        name, reason = series.partition("{")[0], re.search(r'reason="([^"]*)"', series)
        if name in known and (reason is None or reason[1] not in known[name]):
            yield f"alert_tests: no node has {series}; reasons are {', '.join(sorted(known[name]))}"


def _unknown_in_matchers(expression: str) -> Iterator[str]:
    """Say by which reasons a rule chooses that no node gives: misspelt, one to be left out would count."""
    for name, labels in _SELECTOR.findall(expression):
        for _, wanted in _REASON.findall(labels):
            for reason in set(wanted.split("|")) - _reasons().get(name, set()):
                yield f"no node gives {name} the reason {reason!r}"


def _series(alert: str, tried: list[dict[str, Any]]) -> Iterator[str]:
    wanted = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    asked = [each for test in tried for each in test["promql_expr_test"] if each["expr"] == wanted]
    if not any(each["exp_samples"] for each in asked):
        yield "no series in alert_tests on which it fires"
    if all(each["exp_samples"] for each in asked):
        yield "no series in alert_tests on which it does not fire"
