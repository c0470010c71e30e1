"""What is written down of every change to a node, and of who was refused: who, what, from where, and how it ended."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import structlog

from store_server.access.redaction import masked

log = structlog.get_logger()
NODE_ITSELF: Final = "the node"
Detail: TypeAlias = str | int | float | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. What is "" is not known."""

    action: str
    """What was done or tried, such as "attach"."""
    outcome: str
    """How it ended, such as "allowed", "refused" or "failed". What was allowed and did not fail was done."""
    caller: str = NODE_ITSELF
    """The name of who did it; by default nobody called."""
    peer: str = ""
    """Where they called from."""
    request_id: str = ""
    details: Mapping[str, Detail] = field(default_factory=dict)
    """Whatever tells it from others of the same action: a table, a version, a reason."""

    def line(self) -> dict[str, Detail]:
        """Return what is written of it, without what is not known; what looks like a secret is masked."""
        named = {"action": self.action, "outcome": self.outcome, "caller": self.caller, "peer": self.peer}
        named["request_id"] = self.request_id
        known: dict[str, Detail] = {key: value for key, value in named.items() if value}
        return {key: _masked(value) for key, value in {**known, **self.details}.items()}


class Audit(Protocol):
    """Takes down what happened, in any thread. Nobody waits for a disk."""

    failures: int
    """Events that could not be written down."""

    def record(self, event: Event) -> None:
        """Take down an event."""
        ...

    def close(self) -> None:
        """Write what is left, within a moment."""
        ...


class AuditInLog:
    """Has the lines among those of the ordinary log, with the event "audit"."""

    failures = 0

    def record(self, event: Event) -> None:
        """See Audit.record."""
        log.info("audit", **event.line())

    def close(self) -> None:
        """See Audit.close."""


def with_time(line: Mapping[str, Detail]) -> dict[str, Detail]:
    """Return a line that stands for itself: when it was written, and by which process."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": now, **line, "pid": os.getpid()}


def _masked(value: Detail) -> Detail:
    if isinstance(value, str):
        return masked(value)
    return [masked(each) for each in value] if isinstance(value, Sequence) else value
