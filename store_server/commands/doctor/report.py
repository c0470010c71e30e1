"""Findings as lines for people, as they are found, and as one JSON object for programs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from store_server.access.redaction import masked
from store_server.commands.doctor.finding import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store_server.commands.doctor.finding import Finding

_WIDEST_VERDICT: Final = max(map(len, Verdict))
_CHECK_WIDTH: Final = len("own certificate")
_WORDS: Final = {Verdict.ok: "fine", Verdict.warn: "to be seen to", Verdict.fail: "failed", Verdict.unknown: "unknown"}


def lines_of(finding: Finding) -> Iterator[str]:
    """Yield a line, and a second one if something is to be changed."""
    verdict, check = finding.verdict.ljust(_WIDEST_VERDICT), finding.check.ljust(_CHECK_WIDTH)
    yield masked(" ".join(f"{verdict}  {check}  {finding.subject}: {finding.found}".splitlines()))
    if finding.change:
        yield masked(f"{' ' * (_WIDEST_VERDICT + _CHECK_WIDTH + 4)}-> {finding.change}")


def summary_of(findings: Sequence[Finding]) -> str:
    """Return how many checks ended in which way."""
    counts = Counter(finding.verdict for finding in findings)
    told = (f"{counts[verdict]} {_WORDS[verdict]}" for verdict in Verdict if counts[verdict])
    return f"{len(findings)} check{'s' if len(findings) > 1 else ''}: {', '.join(told)}"


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings in their order, and whether any of them is a failure."""
    has_failed = any(finding.verdict is Verdict.fail for finding in findings)
    each = [{name: masked(str(value)) for name, value in dataclasses.asdict(finding).items()} for finding in findings]
    return {"ok": not has_failed, "findings": each}
