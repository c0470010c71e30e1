"""Rows on the device before their layer's turn: one call asks for those of all Engram layers of a model.

`Prefetcher` is the whole of it. Below it: `issue` hashes and asks in the order of the layers' turns; `asked` is what it
asks for, each n-gram once while `repeats` finds that to pay, without the rows that `hot_rows` holds; `layer_fetch` is
one fetch into one buffer, which `ring` lends and `staging` lays out; `device_copy` takes rows to the device; `outputs`
holds what the layers read; `metrics` counts.
"""

from engram_model.prefetch.metrics import LayerStats, PrefetchStats, RingStats
from engram_model.prefetch.pending_layer import PrefetchedLayer, PrefetchedLayers
from engram_model.prefetch.prefetcher import Prefetcher
from engram_model.prefetch.ring import RingFull
from engram_model.prefetch.settings import PrefetchSettings

__all__ = [
    "LayerStats",
    "PrefetchSettings",
    "PrefetchStats",
    "PrefetchedLayer",
    "PrefetchedLayers",
    "Prefetcher",
    "RingFull",
    "RingStats",
]
