"""For how long something has been away, as far as this node itself could see: no two clocks are ever compared."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing", bound=Hashable)


class AwayClock(Generic[_Thing]):
    """Counts only time between two looks that both could see who is present, and that both did not see the thing.

    Such as a node among those that are registered, or a version among those that sets name.
    """

    def __init__(self) -> None:
        self._away: dict[_Thing, float] = {}
        self._last_look: float | None = None

    def look(self, present: Collection[_Thing] | None, expected: Collection[_Thing], now: float) -> dict[_Thing, float]:
        """Return the seconds that each of the expected that is not present has been away.

        `present` is None while nothing can be seen: then time stands still. `now` is of a clock that never goes back.
        """
        if present is None:
            self._last_look = None
            return dict(self._away)
        passed = 0.0 if self._last_look is None else now - self._last_look
        self._last_look = now
        self._away = {
            thing: self._away[thing] + passed if thing in self._away else 0.0
            for thing in expected
            if thing not in present
        }
        return dict(self._away)

    def begin_anew(self) -> dict[_Thing, float]:
        """Count from now on for all that are away; returns what `look` does."""
        self._away = dict.fromkeys(self._away, 0.0)
        return dict(self._away)
