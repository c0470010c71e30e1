"""A table of rows that lives in the module and is trained with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engram_model.rows import decode_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engram_model.config import EngramConfig


class LocalMemory(nn.Module):
    """A table of normal numbers, in the module's state dict as `memory.table.weight`.

    Raises:
        ValueError: the table would be larger than the configuration's `max_local_bytes`, and not on the meta device.
    """

    def __init__(self, config: EngramConfig, num_rows: int) -> None:
        super().__init__()
        table_bytes = num_rows * config.embedding_dim * torch.get_default_dtype().itemsize
        if table_bytes > config.max_local_bytes and torch.get_default_device().type != "meta":
            raise ValueError(
                f"a local table of {num_rows} rows takes {table_bytes} bytes, max_local_bytes is "
                f"{config.max_local_bytes}: pass memory=, a table of a memory store, or raise the limit"
            )
        self.table = nn.Embedding(num_rows, config.embedding_dim)
        if config.table_init_std != 1:
            with torch.no_grad():
                self.table.weight.mul_(config.table_init_std)

    @property
    def table_bytes(self) -> int:
        """Bytes that the table takes."""
        return self.table.weight.numel() * self.table.weight.element_size()

    def prefetch(self, rows: NDArray[np.int64] | Tensor) -> LocalLookup:
        """Keep the row numbers (B, T, columns); they are looked up when they are waited for, so that gradients flow."""
        rows = rows if isinstance(rows, Tensor) else torch.from_numpy(rows)
        return LocalLookup(self.table, rows.to(self.table.weight.device, non_blocking=True))

    def embed(self, rows: NDArray[np.uint8] | Tensor) -> Tensor:
        """Return bytes (B, T, columns, row_bytes) in the table's own data type as embeddings (B, T, memory_dim)."""
        row_format = str(self.table.weight.dtype).removeprefix("torch.")
        return decode_rows(rows, row_format).flatten(-2)


class LocalLookup:
    """Row numbers of a local table, not yet looked up."""

    waited_seconds = 0.0

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        self._table = table
        self._rows = rows

    def wait(self, timeout: float | None = None) -> Tensor:  # noqa: ARG002  the interface's; nothing is waited for here
        """Return the embeddings (B, T, memory_dim), through which gradients reach the table."""
        embeddings: Tensor = self._table(self._rows.to(self._table.weight.device))  # (B, T, columns, embedding_dim)
        return embeddings.flatten(-2)
