"""The Engram layer: looks up the n-grams that end at each token and adds what it finds to the residual streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from engram_client.hashing import NgramHasher
from engram_model.gate import ContextGate
from engram_model.local_memory import LocalMemory
from engram_model.reference_state import load_demo_state
from engram_model.short_conv import ShortConv
from engram_model.store_memory import StoreMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from engram_model.config import EngramConfig
    from engram_model.memory import Memory, PendingEmbeddings
    from engram_model.store_memory import TableFacts


class EngramModule(nn.Module):
    """One layer of conditional memory (section 2 of arXiv 2601.07372; as in DeepSeek's demonstration program).

    Which rows a token reads follows from the token ids alone, so `prefetch_embeddings` can be called long before the
    layer's turn. Where rows come from, a local table or a memory store, changes nothing in the result.

    Args:
        config: the settings of the model's Engram layers.
        layer_id: which of `config.layer_ids` this layer is: it decides the hash. The first, unless told.
        token_map: integers (vocabulary,), token id to compressed id; every id stands for itself, unless told.
        memory: a blocking table of the client, opened and closed by the caller; None holds a table in the module, of
            standard normal numbers. An async table tells the module only how to read rows: its caller awaits
            `table.fetch(module.row_ids(input_ids))` and passes them as `memory_embeddings`.

    Raises:
        ValueError: the layer is not one of the configuration's, a local table would be larger than
            `config.max_local_bytes`, or `memory` does not fit (MemoryMismatch, FingerprintMismatch).
    """

    def __init__(
        self,
        config: EngramConfig,
        *,
        layer_id: int | None = None,
        token_map: ArrayLike | None = None,
        memory: TableFacts | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.layer_id = config.layer_ids[0] if layer_id is None else layer_id
        if self.layer_id not in config.layer_ids:
            raise ValueError(f"layer_id must be one of {config.layer_ids}, got {self.layer_id}")
        self.hasher = NgramHasher(config.hash_spec, np.arange(config.vocab_size) if token_map is None else token_map)
        self.memory: Memory = self._local_memory() if memory is None else self._store_memory(memory)
        self.gate = ContextGate(config)
        self.value_proj = nn.Linear(config.memory_dim, config.hidden_dim, bias=config.bias)
        self.short_conv = self._short_conv()

    def forward(
        self,
        hidden_states: Tensor,
        input_ids: Tensor | ArrayLike | None = None,
        memory_embeddings: PendingEmbeddings | Tensor | NDArray[np.uint8] | None = None,
        mask: Tensor | None = None,
        return_gating: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the hidden states with what was remembered added to them, and the gating if asked for.

        Args:
            hidden_states: (B, T, H), or (B, T, M, H) for M branches.
            input_ids: raw token ids (B, T); not looked at if `memory_embeddings` are given.
            memory_embeddings: what `prefetch_embeddings` returned; or embeddings (B, T, memory_dim), through which
                gradients flow; or the uint8 rows (B, T, columns, row_bytes) that the caller fetched for `row_ids`.
            mask: booleans (B, T); False closes the gate, so that the token's memory reaches neither itself nor,
                by the convolution, the tokens after it. The token's own convolution still sees earlier values. Its id
                stays part of the n-grams after it, unless `config.masked_tokens_are_dead`.
            return_gating: whether to return the gating.

        Returns:
            The updated hidden states, of the shape they came in, and the gating (B, T, M) or None.

        Raises:
            ValueError: neither ids nor embeddings are given, or shapes do not fit.
            TypeError: the mask is not boolean.
        """
        streams = self._as_streams(hidden_states)  # (B, T, M, H)
        memory = self._embeddings(input_ids, memory_embeddings, mask)  # (B, T, memory_dim)
        _check_shape("memory_embeddings", memory, (*streams.shape[:2], self.config.memory_dim))
        gating: Tensor = self.gate(streams, memory)  # (B, T, M)
        if mask is not None:
            gating = _close(gating, mask)
        values = gating.unsqueeze(-1) * self.value_proj(memory).unsqueeze(-2)  # (B, T, M, H)
        if self.short_conv is not None:
            values = values + self.short_conv(values)
        updated = (streams + values).reshape(hidden_states.shape)
        return updated, gating if return_gating else None

    def prefetch_embeddings(self, input_ids: Tensor | ArrayLike, mask: Tensor | None = None) -> PendingEmbeddings:
        """Start fetching the memory embeddings of raw token ids (B, T) and return at once.

        Ids are hashed on the CPU, so ids on another device are copied there first. `mask` (B, T) counts only if
        `config.masked_tokens_are_dead`; then it must be the one that `forward` gets.

        Returns:
            What `forward` takes as `memory_embeddings`; its `wait(timeout)` gives the tensor (B, T, memory_dim).

        Raises:
            IndexError: a token id is not below the length of the token map.
            ValueError: `input_ids` are not of shape (B, T).
            TypeError: `input_ids` are not integers.
        """
        return self.memory.prefetch(self.row_ids(input_ids, mask))

    def row_ids(self, input_ids: Tensor | ArrayLike, mask: Tensor | None = None) -> NDArray[np.int64]:
        """Return the rows (B, T, columns) of the layer's table that raw token ids (B, T) read; as above otherwise."""
        ids = input_ids.detach().cpu().numpy() if isinstance(input_ids, Tensor) else input_ids
        takes_part = mask.cpu().numpy() if mask is not None and self.config.masked_tokens_are_dead else None
        return self.hasher.rows(ids, self.layer_id, mask=takes_part)

    def load_reference_state(self, state: Mapping[str, Tensor]) -> None:
        """Load tensors by the names that DeepSeek's demonstration program gives them, without a prefix.

        The table may be absent, and is left alone then, as it is when rows come from a memory store; the offsets, if
        there, must be those of this layer's hash. Nothing is loaded unless everything fits.

        Raises:
            ValueError: other names are missing, names are unknown, or a tensor has another shape or other offsets.
        """
        load_demo_state(self, state)

    def _as_streams(self, hidden_states: Tensor) -> Tensor:
        branches = (self.config.num_branches, self.config.hidden_dim)
        if hidden_states.ndim == 4 and hidden_states.shape[2:] == branches:
            return hidden_states
        if hidden_states.ndim == 3 and (1, hidden_states.shape[2]) == branches:
            return hidden_states.unsqueeze(2)
        plain = f" or (B, T, {self.config.hidden_dim})" if self.config.num_branches == 1 else ""
        raise ValueError(
            f"hidden_states must be of shape (B, T, {branches[0]}, {branches[1]}){plain}, "
            f"got {tuple(hidden_states.shape)}"
        )

    def _embeddings(
        self,
        input_ids: Tensor | ArrayLike | None,
        memory_embeddings: PendingEmbeddings | Tensor | NDArray[np.uint8] | None,
        mask: Tensor | None,
    ) -> Tensor:
        """Return the memory embeddings (B, T, memory_dim) on the module's device and in its data type."""
        if memory_embeddings is None:
            if input_ids is None:
                raise ValueError("either input_ids or memory_embeddings must be given, got neither")
            memory_embeddings = self.prefetch_embeddings(input_ids, mask)
        if isinstance(memory_embeddings, Tensor | np.ndarray):
            if memory_embeddings.dtype in (torch.uint8, np.uint8):
                return self.memory.embed(memory_embeddings)
            return torch.as_tensor(memory_embeddings).to(self.value_proj.weight)
        return memory_embeddings.wait()

    def _local_memory(self) -> LocalMemory:
        return LocalMemory(self.config, self.hasher.num_rows[self.layer_id])

    def _store_memory(self, table: TableFacts) -> StoreMemory:
        return StoreMemory(table, self.config, self.hasher, self.layer_id)

    def _short_conv(self) -> ShortConv | None:
        config = self.config
        if config.conv_kernel_size is None:
            return None
        return ShortConv(
            config.num_branches,
            config.hidden_dim,
            kernel_size=config.conv_kernel_size,
            dilation=config.dilation,
            norm_eps=config.conv_norm_eps,
        )


def _close(gating: Tensor, mask: Tensor) -> Tensor:
    """Return gating (B, T, M) with the gates closed where the mask (B, T) is False."""
    _check_shape("mask", mask, gating.shape[:2])
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be boolean, got {mask.dtype}")
    return gating.masked_fill(~mask.to(gating.device).unsqueeze(-1), 0.0)


def _check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"{name} must be of shape {tuple(expected)}, got {tuple(tensor.shape)}")
