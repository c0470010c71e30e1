"""Which nodes a fetch does not ask again, and until when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from engram_client.errors import EngramError, RowsNotHeld, TableNotFound, VersionNotFound

NOT_THERE: Final = (RowsNotHeld, TableNotFound, VersionNotFound)
"""What a node says that does not have the rows, though by the map it does: a newer map may say who has them."""


@dataclass(frozen=True, slots=True)
class Avoided:
    """Nodes that failed some rows of a fetch. One that does not have them is worth asking again by a newer map."""

    _until: Mapping[str, float] = field(default_factory=dict)  # id of a node to the last epoch in which it is avoided

    def in_epoch(self, epoch: int) -> frozenset[str]:
        """Return the ids of the nodes that are avoided when asking by the map of an epoch."""
        return frozenset(node for node, last in self._until.items() if epoch <= last)

    def and_those(self, failures: Mapping[str, EngramError], epoch: int) -> Avoided:
        """Return this with nodes, by their ids, that failed when they were asked by the map of an epoch."""
        until = {node: epoch if isinstance(error, NOT_THERE) else math.inf for node, error in failures.items()}
        return Avoided({**self._until, **until})
