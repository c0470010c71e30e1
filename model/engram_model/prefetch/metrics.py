"""What prefetching has done so far, and what it could not hide."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, kw_only=True)
class LayerStats:
    """One layer, since its `Prefetcher` was made."""

    fetches: int = 0
    """Fetches that were sent; ranks that share one count it together."""
    rows: int = 0
    """Rows that the layer reads of them, repeats included."""
    sent_rows: int = 0
    """Rows that were asked for: fewer where each n-gram is said once."""
    held_rows: int = 0
    """Rows that were not asked for because the device had them, of those that are read or, where n-grams are said once,
    of those."""
    bytes: int = 0
    """Bytes of the rows that were asked for."""
    turns: int = 0
    """Times that the layer's turn came."""
    late: int = 0
    """Turns at which the rows were not there."""
    waited_seconds: float = 0.0
    """How long the layer stood still for them."""
    hidden_seconds: float = 0.0
    """Time that fetches took while other work went on: from sending to arrival, at most to the turn."""
    passed_through: int = 0
    """Turns at which the layer passed its input through unchanged, because rows were late."""
    failed: int = 0
    """Turns at which the fetch was found to have failed."""
    discarded: int = 0
    """Rows of a call that nobody wanted any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingStats:
    """The staging buffers."""

    num_slots: int
    slot_bytes: int
    in_use: int
    """Slots that are lent, or not yet at rest."""
    most_in_use: int
    waits: int
    """Calls that found every slot in use."""
    waited_seconds: float
    """How long they waited for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchStats:
    """A moment's figures of a `Prefetcher`."""

    layers: dict[int, LayerStats]
    """Layer id to its figures; layers with a table in a store."""
    ring: RingStats

    def as_dict(self) -> dict[str, Any]:
        """Return the same as dictionaries of numbers, fit for JSON."""
        return dataclasses.asdict(self)


class Metrics:
    """Counts for all layers; any thread may add."""

    def __init__(self, layer_ids: tuple[int, ...]) -> None:
        self._layers = {layer: LayerStats() for layer in layer_ids}
        self._lock = threading.Lock()

    def add(self, layer_id: int, **amounts: float) -> None:
        """Add to fields of a layer's figures."""
        with self._lock:
            stats = self._layers[layer_id]
            for name, amount in amounts.items():
                setattr(stats, name, getattr(stats, name) + amount)

    def layers(self) -> dict[int, LayerStats]:
        """Return the figures as they are now."""
        with self._lock:
            return {layer: dataclasses.replace(stats) for layer, stats in self._layers.items()}
