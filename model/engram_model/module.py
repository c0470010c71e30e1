"""The Engram layer: looks up the n-grams that end at each token and adds what it finds to the residual streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from engram_client.hashing import local_indices
from engram_model.addressing import Addressing
from engram_model.gate import make_gate
from engram_model.local_memory import LocalMemory
from engram_model.memory import PlacedEmbeddings, RowsLate
from engram_model.precision import widen
from engram_model.reference_state import load_reference_state
from engram_model.short_conv import make_short_conv
from engram_model.store_memory import StoreMemory
from engram_model.torch_hashing import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from engram_client.hashing import NgramHasher, StudyHasher
    from engram_model.config import EngramConfig
    from engram_model.memory import Memory, PendingEmbeddings
    from engram_model.store_memory import TableFacts
    from engram_model.stream_state import EngramState
    from engram_model.torch_hashing import TorchHistory


class EngramModule(nn.Module):
    """One layer of conditional memory (section 2 of arXiv 2601.07372), in the form that its configuration describes.

    Which rows a token reads follows from the token ids alone, so `prefetch_embeddings` can be called long before the
    layer's turn. Where rows come from, a local table or a memory store, changes nothing in the result.

    Rows and projections have the data type of the weights, or that of autocast. All else, from the gate to the sum with
    the hidden states, is computed in float32 (float64 if anything is float64) and rounded once, at the end.

    Args:
        config: the settings of the model's Engram layers.
        layer_id: which of `config.layer_ids` this layer is: it decides the hash. The first, unless told.
        token_map: integers (vocab_size,), token id to compressed id; every id stands for itself, unless told. Needed
            where `config.compressed_vocab_size` is set.
        memory: a blocking table of the client, opened and closed by the caller; None holds a table in the module, of
            normal numbers. An async table tells the module only how to read rows: its caller awaits
            `table.fetch(module.row_ids(input_ids))` and passes them as `memory_embeddings`.

    Raises:
        ValueError: the layer is not one of the configuration's, the token map is missing or of another length or number
            of compressed ids, a local table would be larger than
            `config.max_local_bytes`, or `memory` does not fit (MemoryMismatch, FingerprintMismatch): it is checked
            here, and when `refresh` has moved it once more, before any row is read.

    Warns:
        UnidentifiedTable: `memory` carries no fingerprint.
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
        self.addressing = Addressing(config, self.layer_id, token_map)
        self.memory: Memory = self._local_memory() if memory is None else self._store_memory(memory)
        self.gate = make_gate(config)
        self.value_proj = nn.Linear(config.projected_dim, config.hidden_dim, bias=config.bias)
        self.short_conv = make_short_conv(config)

    @property
    def hasher(self) -> NgramHasher | StudyHasher:
        """The hash that turns token ids into rows of the layer's table."""
        return self.addressing.on_host

    def forward(
        self,
        hidden_states: Tensor,
        input_ids: Tensor | ArrayLike | None = None,
        memory_embeddings: PendingEmbeddings | Tensor | NDArray[np.uint8] | None = None,
        mask: Tensor | ArrayLike | None = None,
        return_gating: bool = False,
        *,
        sequence_ids: Tensor | NDArray[np.int64] | None = None,
        state: EngramState | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the hidden states with what was remembered added to them, and the gating if asked for.

        Args:
            hidden_states: (B, T, H), or (B, T, M, H) for M branches.
            input_ids: raw token ids (B, T); not looked at if `memory_embeddings` are given.
            memory_embeddings: what `prefetch_embeddings` returned, or a `Prefetcher` for this layer: if its rows are
                late and not to be waited for, the hidden states come back unchanged, the gates closed. Or embeddings
                (B, T, memory_dim), through which gradients flow; or the uint8 rows (B, T, columns, row_bytes) that the
                caller fetched for `row_ids`.
            mask: booleans (B, T); False closes the gate, so that the token's memory reaches neither itself nor,
                by the convolution, the tokens after it. The token's own convolution still sees earlier values. Its id
                stays part of the n-grams after it, unless `config.masked_tokens_are_dead`.
            return_gating: whether to return the gating.
            sequence_ids: integers (B, T), the documents packed into each row, 0 for padding. A document ends where they
                change: neither n-grams nor the convolution look behind its start, so that it gives what it gives alone
                (the published programs know no packing; without `sequence_ids`, as there, a row is one document).
                Padding is masked. Rows that were prefetched must have been asked for with the same.
            state: the past of these sequences, if they come in pieces; it is moved past this piece, but on an error
                left as it was. A piece whose rows were prefetched with the state has moved the ids on already.

        Returns:
            The updated hidden states, of the shape and data type they came in, and the gating (B, T, M) or None.

        Raises:
            IndexError: a token id is not below the length of the token map, or is negative and the study's hash is
                used; RuntimeError in compiled code, or from the device's own assertion for ids on a GPU.
            ValueError: neither ids nor embeddings are given, shapes do not fit, or the state is of other sequences.
            TypeError: the mask is not boolean, the sequence ids are not integers, or `memory_embeddings` are neither
                uint8 nor of floating point.
        """
        mask = None if mask is None else _as_mask(mask)
        streams = widen(self._as_streams(hidden_states))  # (B, T, M, H)
        documents = None if sequence_ids is None else _documents(sequence_ids, streams)
        history = None if state is None else state.history
        if memory_embeddings is None:
            memory_embeddings, history = self._look_up(input_ids, mask, documents, state)
        try:
            embeddings = self._embeddings(memory_embeddings)
        except RowsLate:
            closed = self._pass_through(streams, documents, state)
            return hidden_states, closed if return_gating else None
        _check_shape("memory_embeddings", embeddings, (*streams.shape[:2], self.config.memory_dim))
        memory = self._combined(embeddings)  # (B, T, E)
        gating: Tensor = self.gate(streams, memory)  # (B, T, M)
        if mask is not None:
            gating = _close(gating, mask)
        if documents is not None:
            gating = _close(gating, documents != 0)
        values = gating.unsqueeze(-1) * widen(self.value_proj(memory)).unsqueeze(-2)  # (B, T, M, H)
        if self.short_conv is not None:
            filtered, past = self.short_conv(values, None if state is None else state.conv_past, documents)
            values = values + filtered
            if state is not None:
                state.conv_past = past._replace(values=past.values.detach().clone())
        if state is not None:
            state.history = history
        updated = (streams + values).to(hidden_states.dtype).reshape(hidden_states.shape)
        return updated, gating if return_gating else None

    def prefetch_embeddings(
        self,
        input_ids: Tensor | ArrayLike,
        mask: Tensor | ArrayLike | None = None,
        *,
        sequence_ids: Tensor | NDArray[np.int64] | None = None,
        state: EngramState | None = None,
    ) -> PendingEmbeddings:
        """Start fetching the memory embeddings of raw token ids (B, T) and return at once.

        For a memory store, ids are hashed on the CPU, so ids on another device are copied there first. `mask` (B, T)
        counts only if `config.masked_tokens_are_dead`; then it must be the one that `forward` gets, as `sequence_ids`
        must. The ids of `state` are moved on, so the next piece can be prefetched before this one's turn.

        Returns:
            What `forward` takes as `memory_embeddings`; its `wait(timeout)` gives the tensor (B, T, memory_dim).

        Raises:
            IndexError: a token id is not below the length of the token map.
            ValueError: `input_ids` are not of shape (B, T), or the state is of other sequences.
            TypeError: `input_ids` are not integers.
        """
        pending, history = self._look_up(input_ids, mask, sequence_ids, state)
        if state is not None:
            state.history = history
        return pending

    def row_ids(
        self,
        input_ids: Tensor | ArrayLike,
        mask: Tensor | ArrayLike | None = None,
        *,
        sequence_ids: Tensor | NDArray[np.int64] | None = None,
        state: EngramState | None = None,
    ) -> NDArray[np.int64]:
        """Return the rows (B, T, columns) of the layer's table that raw token ids (B, T) read; as above otherwise."""
        rows, history = self.addressing.host_rows(input_ids, mask, sequence_ids, state)
        if state is not None:
            state.history = history
        return rows

    def compute_indices(self, input_ids: Tensor | ArrayLike) -> dict[int, Tensor]:
        """Return for each n-gram order the indices (B, T, heads) into each head's own part of the table."""
        indices = local_indices(self.hasher, self.row_ids(input_ids), self.layer_id)
        device = input_ids.device if isinstance(input_ids, Tensor) else None
        return {order: torch.from_numpy(rows).to(device) for order, rows in indices.items()}

    def get_memory_stats(self) -> dict[str, float | int | tuple[int, ...]]:
        """Return sizes: of the tables, wherever they are, in GiB; of the parameters in this module in millions."""
        parameters = list(self.parameters())
        return {
            "embedding_tables_gb": self.memory.table_bytes / 2**30,
            "total_params_m": sum(parameter.numel() for parameter in parameters) / 1e6,
            "trainable_params_m": sum(parameter.numel() for parameter in parameters if parameter.requires_grad) / 1e6,
            "embedding_table_size": self.config.embedding_table_size,
            "num_tables": self.config.num_columns,
        }

    def offload_to_cpu(self) -> None:
        """Move a local table to the CPU; rows go to the module's device when they are looked up.

        `to` and its like move the whole module, the table included. A table in a memory store stays where it is.
        """
        if isinstance(self.memory, LocalMemory):
            self.memory.table.cpu()

    def load_to_gpu(self, device: torch.device | str) -> None:
        """Move a local table to a GPU; a table in a memory store stays where it is.

        Raises:
            RuntimeError: torch sees no such GPU.
        """
        device = torch.device(device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(f"the table cannot be loaded to {device}: torch sees no CUDA device")
        if isinstance(self.memory, LocalMemory):
            self.memory.table.to(device)

    def load_reference_state(self, state: Mapping[str, Tensor]) -> None:
        """Load tensors by the unprefixed names of the demonstration program, of DeepSeek-V4.1 or of the study module.

        The table may be absent, and is left alone then, as it is when rows come from a memory store; the offsets or
        buffers of the hash, if there, must be those of this layer's. Nothing is loaded unless everything fits.

        Raises:
            ValueError: other names are missing, names are unknown, a tensor has another shape, a data type that is not
                that of weights or other numbers of the hash, or the names are those of another form than the
                configuration's.
            TypeError: a value is not a tensor.
        """
        load_reference_state(self, state)

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

    def _look_up(
        self,
        input_ids: Tensor | ArrayLike | None,
        mask: Tensor | ArrayLike | None,
        sequence_ids: Tensor | NDArray[np.int64] | None,
        state: EngramState | None,
    ) -> tuple[PendingEmbeddings, TorchHistory | None]:
        """Ask for the rows of token ids; the state is only read."""
        if input_ids is None:
            raise ValueError("either input_ids or memory_embeddings must be given, got neither")
        rows: Tensor | NDArray[np.int64]
        history: TorchHistory | None
        if isinstance(input_ids, Tensor) and isinstance(self.memory, LocalMemory) and _must_stay_on_device(input_ids):
            documents = None if sequence_ids is None else torch.as_tensor(sequence_ids)
            rows, history = self.addressing.device_rows(input_ids, mask, documents, state)
        else:
            rows, history = self.addressing.host_rows(input_ids, mask, sequence_ids, state)
        return PlacedEmbeddings(self.memory.prefetch(rows), self.value_proj), history

    def _embeddings(self, memory_embeddings: PendingEmbeddings | Tensor | NDArray[np.uint8]) -> Tensor:
        """Return the memory embeddings (B, T, memory_dim) on the module's device and in its data type."""
        if isinstance(memory_embeddings, Tensor | np.ndarray):
            if memory_embeddings.dtype in (torch.uint8, np.uint8):
                return self.memory.embed(memory_embeddings).to(self.value_proj.weight)
            embeddings = torch.as_tensor(memory_embeddings)
            if not embeddings.is_floating_point():
                raise _not_embeddings(embeddings.dtype)
            return embeddings.to(self.value_proj.weight)
        if not hasattr(memory_embeddings, "wait"):
            raise _not_embeddings(type(memory_embeddings).__name__)
        return memory_embeddings.wait()

    def _pass_through(self, streams: Tensor, documents: Tensor | None, state: EngramState | None) -> Tensor:
        """Return gating (B, T, M) of closed gates, and move the state as if the tokens had no memories."""
        if state is not None and self.short_conv is not None:
            _, past = self.short_conv(torch.zeros_like(streams), state.conv_past, documents)
            state.conv_past = past._replace(values=past.values.detach().clone())
        return streams.new_zeros(streams.shape[:-1])

    def _combined(self, embeddings: Tensor) -> Tensor:
        """Return what is projected, (B, T, E), from a token's rows side by side."""
        if self.config.combine == "concatenate":
            return embeddings
        rows = embeddings.view(*embeddings.shape[:2], self.config.num_columns, self.config.embedding_dim)
        return widen(rows).sum(dim=-2).to(embeddings.dtype)

    def _local_memory(self) -> LocalMemory:
        return LocalMemory(self.config, self.config.padded(self.hasher.num_rows[self.layer_id]))

    def _store_memory(self, table: TableFacts) -> StoreMemory:
        return StoreMemory(table, self.config, self.hasher, self.layer_id)


def _must_stay_on_device(input_ids: Tensor) -> bool:
    """Whether looking at ids on the host would wait for a device, or break a graph."""
    return input_ids.device.type != "cpu" or torch.compiler.is_compiling()


def _documents(sequence_ids: Tensor | NDArray[np.int64], streams: Tensor) -> Tensor:
    """Return sequence ids as a tensor (B, T) where the streams (B, T, M, H) are."""
    documents = torch.as_tensor(sequence_ids, device=streams.device)
    _check_shape("sequence_ids", documents, streams.shape[:2])
    if documents.dtype not in INTEGERS:
        raise TypeError(f"sequence_ids must be integers, got {documents.dtype}")
    return documents


def _as_mask(mask: Tensor | ArrayLike) -> Tensor:
    given = mask if isinstance(mask, Tensor) else np.array(mask)  # a copy, as torch takes no view of any array
    if given.dtype not in (torch.bool, np.bool_):
        raise TypeError(f"mask must be boolean, got {given.dtype}")
    return torch.as_tensor(given)


def _not_embeddings(given: object) -> TypeError:
    return TypeError(
        "memory_embeddings must be what prefetch_embeddings returned, a tensor of floating point, or rows in uint8, "
        f"got {given}"
    )


def _close(gating: Tensor, mask: Tensor) -> Tensor:
    """Return gating (B, T, M) with the gates closed where the mask (B, T) is False."""
    _check_shape("mask", mask, gating.shape[:2])
    return gating.masked_fill(~mask.to(gating.device).unsqueeze(-1), 0.0)


def _check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(f"{name} must be of shape {tuple(expected)}, got {tuple(tensor.shape)}")
