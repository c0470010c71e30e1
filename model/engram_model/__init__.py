"""Engram layers for PyTorch, with tables in the model or in a memory store."""

try:
    import torch  # noqa: F401  # the client alone installs this package, too, without what it needs
except ModuleNotFoundError as error:
    raise ImportError(
        f"engram_model needs torch, no package {error.name!r} here: pip install 'engram-store[model]' "
        "(from a checkout: pip install '.[model]')"
    ) from error

from engram_model.config import EngramConfig
from engram_model.memory import PendingEmbeddings, RowsLate
from engram_model.module import EngramModule
from engram_model.prefetch import Prefetcher, PrefetchSettings, RingFull
from engram_model.store_memory import MemoryMismatch, UnidentifiedTable
from engram_model.stream_state import EngramState
from engram_model.transformer import TransformerWithEngram
from engram_model.transformer_layer import EngramTransformerLayer

__all__ = [
    "EngramConfig",
    "EngramModule",
    "EngramState",
    "EngramTransformerLayer",
    "MemoryMismatch",
    "PendingEmbeddings",
    "PrefetchSettings",
    "Prefetcher",
    "RingFull",
    "RowsLate",
    "TransformerWithEngram",
    "UnidentifiedTable",
]
