"""Which versions a node has refused lately, although by the shard map it holds rows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engram_store.shard_map import VersionKey

REMEMBER_SECONDS: Final = 3.0  # a node that copies, or from which a block was lost, may have the rows soon after
_MOST_VERSIONS: Final = 64  # of one node; the next one takes the place of the oldest


class Refusals:
    """What one node has refused: each time for a few seconds, or until the next epoch of the map if that is sooner.

    A refusal is a quick answer, by which a node with nothing to do would always look like the one to ask.
    """

    def __init__(self) -> None:
        self._noted: dict[VersionKey, tuple[int, float]] = {}  # the epoch and when, the oldest first

    def note(self, version: VersionKey, epoch: int, now: float) -> None:
        """Take note that the node refused rows of a version that it was asked for by the map of an epoch."""
        self._noted.pop(version, None)
        if len(self._noted) >= _MOST_VERSIONS:
            del self._noted[next(iter(self._noted))]
        self._noted[version] = (epoch, now)

    def include(self, version: VersionKey, epoch: int, now: float) -> bool:
        """Tell whether the node should be spared rows of a version."""
        noted = self._noted.get(version) if self._noted else None
        return noted is not None and epoch <= noted[0] and now < noted[1] + REMEMBER_SECONDS
