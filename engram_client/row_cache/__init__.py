"""Rows kept at the client: which ones to keep is decided over arrays, without I/O, by `RowCache`."""

from engram_client.row_cache.row_cache import RowCache, set_bytes

__all__ = ["RowCache", "set_bytes"]
