"""Says in the log what is wrong, once and not at each attempt, and that it is over."""

from __future__ import annotations

import structlog

log = structlog.get_logger()


class SaidOnce:
    """What was said last, by subject."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def say(self, subject: str, what: str) -> None:
        """Say what is wrong with a subject, "" for nothing."""
        before = self._said.get(subject, "")
        self._said[subject] = what
        if what and what != before:
            log.warning(what)
        elif before and not what:
            log.info("over", what=before)
