"""What a check found, what that means, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    ok = "ok"
    warn = "warn"
    fail = "fail"
    unknown = "unknown"
    """Nobody can tell from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, in sentences for people."""

    check: str
    """Such as "certificate"."""
    subject: str
    """What was looked at: an address, a table, "this host"."""
    verdict: Verdict
    found: str
    """With the value and, where there is one, the limit."""
    change: str = ""
    """What to do about it; "" where nothing is to be done."""


def ok(check: str, subject: str, found: str) -> Finding:
    """Return a finding that leaves nothing to do."""
    return Finding(check=check, subject=subject, verdict=Verdict.ok, found=found)


def warn(check: str, subject: str, found: str, change: str) -> Finding:
    """Return a finding that should be seen to, while everything works."""
    return Finding(check=check, subject=subject, verdict=Verdict.warn, found=found, change=change)


def fail(check: str, subject: str, found: str, change: str) -> Finding:
    """Return a finding that keeps a client or a node from working."""
    return Finding(check=check, subject=subject, verdict=Verdict.fail, found=found, change=change)


def unknown(check: str, subject: str, found: str, change: str = "") -> Finding:
    """Return a finding that says what could not be found out, and why."""
    return Finding(check=check, subject=subject, verdict=Verdict.unknown, found=found, change=change)
