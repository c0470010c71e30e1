"""Engram layers for PyTorch, with tables in the model or in a memory store."""

from engram_model.config import EngramConfig
from engram_model.memory import PendingEmbeddings
from engram_model.module import EngramModule
from engram_model.store_memory import MemoryMismatch
from engram_model.transformer import TransformerWithEngram

__all__ = ["EngramConfig", "EngramModule", "MemoryMismatch", "PendingEmbeddings", "TransformerWithEngram"]
