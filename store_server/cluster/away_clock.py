"""For how long nodes have been away, as far as this node itself could see: no two clocks are ever compared."""

from __future__ import annotations

from collections.abc import Collection


class AwayClock:
    """Counts only time between two looks that both saw the registry, and that both did not see the node."""

    def __init__(self) -> None:
        self._away: dict[str, float] = {}
        self._last_look: float | None = None

    def look(self, present: Collection[str] | None, expected: Collection[str], now: float) -> dict[str, float]:
        """Return the seconds that each of the expected who is not present has been away.

        `present` is None while nobody can be seen: then time stands still. `now` is of a clock that never goes back.
        """
        if present is None:
            self._last_look = None
            return dict(self._away)
        passed = 0.0 if self._last_look is None else now - self._last_look
        self._last_look = now
        self._away = {
            node_id: self._away[node_id] + passed if node_id in self._away else 0.0
            for node_id in expected
            if node_id not in present
        }
        return dict(self._away)
