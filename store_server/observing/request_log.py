"""What the log tells of requests: those that failed and those that took long, a few lines a second at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from store_server.observing.line_limit import LineLimit

if TYPE_CHECKING:
    from engram_store.codec import Failure
    from store_server.observing.call_observer import Method

log = structlog.get_logger()
SLOW_SECONDS: Final = 1.0
_LINES_A_SECOND: Final = 10
_LONGEST_MESSAGE: Final = 400  # callers have their words in it


class RequestLog:
    """Belongs to the event loop."""

    def __init__(self, limit: LineLimit | None = None) -> None:
        self._limit = limit or LineLimit(_LINES_A_SECOND)

    def failed(self, method: Method, request_id: str, caller: str, failure: Failure) -> None:
        """Tell of a call, or of one lookup of a stream, that failed."""
        self._tell(
            "request failed",
            method,
            request_id,
            caller,
            reason=failure.reason,
            error=failure.message[:_LONGEST_MESSAGE],
        )

    def slow(self, method: Method, request_id: str, caller: str, seconds: float) -> None:
        """Tell of a call, or of one lookup of a stream, that was answered late."""
        self._tell("request slow", method, request_id, caller, seconds=round(seconds, 3))

    def _tell(self, event: str, method: Method, request_id: str, caller: str, **values: object) -> None:
        left_out = self._limit.take()
        if left_out is None:
            return
        if left_out:
            values["lines_left_out"] = left_out
        log.warning(event, request_id=request_id, method=f"{method.service}/{method.name}", caller=caller, **values)
