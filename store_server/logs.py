"""The log of a node: a line an event on standard error."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import structlog

from store_server.access.redaction import mask_line

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat: TypeAlias = Literal["text", "json"]
_KEYS_FIRST: Final = ("timestamp", "level", "event")


def log_to_stderr(log_format: LogFormat = "text", *, worker: int | None = None) -> None:
    """Write the log to standard error, a line an event; each of a worker bears its number."""

    def name_worker(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return event if worker is None else {"worker": worker, **event}

    structlog.configure(
        processors=[
            name_worker,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *_RENDERERS[log_format],
            mask_line,
        ],
        logger_factory=_StderrLogger,
    )


def _usual_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**{key: event.pop(key) for key in _KEYS_FIRST if key in event}, **event}


_RENDERERS: Final[dict[LogFormat, list[Processor]]] = {
    "text": [structlog.processors.KeyValueRenderer(key_order=_KEYS_FIRST)],
    "json": [_usual_order, structlog.processors.JSONRenderer()],
}


class _StderrLogger:
    """Writes lines to standard error. One that cannot be written, as its reader is gone or a disk full, stops nothing.

    Past `sys.stderr`, which would keep such a line and fail again at the end of the process.
    """

    def __init__(self, *_: object) -> None:
        """Take what structlog gives a factory, the name of the logger."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{line}\n".encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg
