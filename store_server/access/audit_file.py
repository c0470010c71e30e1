"""The audit log as a file: a line of JSON for each thing that happened.

A thread of its own writes, from a queue of limited length: a disk that is slow or full holds up nobody. What it could
not take is counted, and said in the ordinary log. Several workers append to one file, whole lines each.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from typing import TYPE_CHECKING, Final

import structlog

from store_server.access.audit import with_time

if TYPE_CHECKING:
    from pathlib import Path

    from store_server.access.audit import Event

log = structlog.get_logger()
_MOST_WAITING: Final = 10_000
_CLOSE_SECONDS: Final = 2.0
_SYNC_SECONDS: Final = 1.0  # without a further line, after which what was written is made to survive a crash
_MODE: Final = 0o600


class AuditFile:
    """Appends to `path`, which is made if it is missing, and again where it was moved away. See Audit."""

    def __init__(self, path: Path, *, most_waiting: int = _MOST_WAITING) -> None:
        """Raises OSError if the file cannot be written now: whoever asks for an audit log is to have one."""
        self.failures = 0
        self._file = _AppendedFile(path)
        self._waiting: queue.Queue[bytes | None] = queue.Queue(most_waiting)
        self._failing = ""
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()

    def record(self, event: Event) -> None:
        """See Audit.record."""
        line = with_time(event.line())
        try:
            self._waiting.put_nowait(json.dumps(line).encode() + b"\n")
        except queue.Full:
            self._fail(f"{self._waiting.maxsize:,} lines wait to be written")

    def close(self) -> None:
        """See Audit.close. Leaves a disk that does not answer to itself."""
        try:
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(_CLOSE_SECONDS)
        except queue.Full:
            pass
        if self._thread.is_alive():
            self._fail(f"left behind at the end, {self._waiting.qsize():,} lines")

    def _write_all(self) -> None:
        is_synced = True
        while True:
            try:
                line = self._waiting.get(timeout=None if is_synced else _SYNC_SECONDS)
                if line is None:
                    break
                is_synced = not self._write(line)
            except queue.Empty:
                self._file.sync()
                is_synced = True
        self._file.close()

    def _write(self, line: bytes) -> bool:
        """Write a line; tells whether that worked."""
        try:
            self._file.append(line)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return False
        self._failing = ""
        return True

    def _fail(self, reason: str) -> None:
        with self._counting:
            self.failures += 1
            is_news, self._failing = reason != self._failing, reason
        if is_news:
            log.error("the audit log has gaps", file=str(self._file.path), error=reason, lines_lost=self.failures)


class _AppendedFile:
    """A file that somebody else may move away, as those do who rotate logs. For one thread; raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = self._opened()
        self._ends_inside_a_line = False

    def append(self, line: bytes) -> None:
        """Append a line in one piece, so that it lies beside those of other workers and not among them."""
        self._follow()
        data = b"\n" + line if self._ends_inside_a_line else line
        written = os.write(self._descriptor, data)
        self._ends_inside_a_line = 0 < written < len(data) or (self._ends_inside_a_line and written == 0)
        if written < len(data):
            raise OSError(0, f"{written} of {len(data)} bytes were written: the disk is full")

    def sync(self) -> None:
        """Let what was written survive a crash, as far as the disk can tell."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            log.warning("the audit log cannot be synced", file=str(self.path), error=error.strerror)

    def close(self) -> None:
        """Close the file."""
        self.sync()
        os.close(self._descriptor)

    def _follow(self) -> None:
        opened = os.fstat(self._descriptor)
        try:
            found = self.path.stat()
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino):
            before, self._descriptor = self._descriptor, self._opened()
            self._ends_inside_a_line = False
            os.close(before)

    def _opened(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
