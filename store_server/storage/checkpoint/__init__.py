"""Checkpoints of Engram models in the layout of DeepSeek-V4.1: found, checked, and made up for tests."""

from store_server.storage.checkpoint.config import CheckpointConfig, read_config
from store_server.storage.checkpoint.synthetic import SyntheticCheckpoint
from store_server.storage.checkpoint.synthetic_rows import synthetic_rows
from store_server.storage.checkpoint.tables import Checkpoint, read_checkpoint
from store_server.storage.checkpoint.write import write_checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointConfig",
    "SyntheticCheckpoint",
    "read_checkpoint",
    "read_config",
    "synthetic_rows",
    "write_checkpoint",
]
