"""Says who was refused, as often as a person can read it: whoever tries on and on must not fill the disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from store_server.access.audit import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.access.audit import Audit, Detail

log = structlog.get_logger()
_AT_ONCE: Final = 20
_A_SECOND: Final = 1.0


class Refusals:
    """Writes the first refusals at once, then one a second, with the number of those that were left out between.

    `count` is that of all. Belongs to the event loop.
    """

    def __init__(self, audit: Audit, *, now: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._audit = audit
        self._now = now
        self._allowance, self._counted_at = float(_AT_ONCE), now()
        self._left_out = 0

    def say(
        self,
        reason: str,
        *,
        peer: str,
        caller: str = "somebody",
        token_id: str = "",
        action: str = "call",
        request_id: str = "",
    ) -> None:
        """Take note of a refusal; a token's id is what the caller claims, and no secret."""
        self.count += 1
        now = self._now()
        self._allowance = min(_AT_ONCE, self._allowance + (now - self._counted_at) * _A_SECOND)
        self._counted_at = now
        if self._allowance < 1:
            self._left_out += 1
            return
        self._allowance -= 1
        details: dict[str, Detail] = {"token_id": token_id} if token_id else {}
        details |= {"left_out": self._left_out} if self._left_out else {}
        log.warning("caller refused", peer=peer, caller=caller, reason=reason, **details)
        details["reason"] = reason
        self._audit.record(
            Event(action=action, outcome="refused", caller=caller, peer=peer, request_id=request_id, details=details)
        )
        self._left_out = 0
