"""Takes down what becomes of a node's tables, whoever did it and by whatever way: a command, a call, the shard map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.access.audit import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_server.access.audit import Audit


class SeenChanges:
    """Compares each look with the one before; the first one is what the node began with."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._current: Mapping[str, str] | None = None
        self._epoch = 0

    def look(self, current: Mapping[str, str], epoch: int) -> None:
        """Take note of the current version of each table, and of the epoch of the shard map, 0 for none."""
        before, self._current = self._current, dict(current)
        known_epoch, self._epoch = self._epoch, epoch
        if before is None:
            self._record("node", "started", tables=len(current), epoch=epoch)
            return
        if epoch != known_epoch:
            self._record("shard map", "taken", epoch=epoch, before=known_epoch)
        for table in sorted(before.keys() | current.keys()):
            was, is_ = before.get(table, ""), current.get(table, "")
            if was != is_:
                self._record("table", _outcome(was, is_), table=table, version=is_, before=was)

    def _record(self, action: str, outcome: str, **details: str | int) -> None:
        known = {key: value for key, value in details.items() if value != ""}
        self._audit.record(Event(action=action, outcome=outcome, details=known))


def _outcome(was: str, is_: str) -> str:
    if not was:
        return "came"
    return "switched" if is_ else "gone"
