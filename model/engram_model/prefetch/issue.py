"""From token ids to fetches under way: each layer is hashed and asked for, in the order of their turns."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from engram_client.errors import InvalidBuffer
from engram_model.prefetch.device_copy import make_copier
from engram_model.prefetch.layer_fetch import LayerFetch, Part
from engram_model.prefetch.metrics import Metrics
from engram_model.prefetch.ring import StagingRing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from engram_model.module import EngramModule
    from engram_model.prefetch.device_copy import Copier
    from engram_model.prefetch.settings import PrefetchSettings
    from engram_model.store_memory import FetchTerms, StoreMemory, StoreTable
    from engram_model.torch_hashing import TorchHistory


class Tokens(NamedTuple):
    """What a call is about, on the host, each (B, T)."""

    ids: NDArray[np.integer]
    mask: NDArray[np.bool_] | None
    sequence_ids: NDArray[np.integer] | None


class Rank(NamedTuple):
    """One device's share of the layers whose tables are in a store."""

    modules: Mapping[int, EngramModule]
    columns: NDArray[np.int64]
    """Of each token's rows, those that this rank reads."""
    projections: Mapping[int, nn.Linear]
    """By layer id, what the embeddings are for: its weight tells where they go, and as what."""


class Issued(NamedTuple):
    """Fetches under way, and where they leave the sequences."""

    fetches: dict[int, LayerFetch]
    """By layer id, in the order in which they were sent."""
    histories: dict[int, TorchHistory]
    """By layer id, of the layers that have a state."""


class Issuer:
    """Asks for the rows of all layers, once for all ranks of a host; the staging buffers are its.

    The tables and hashes are those of the first rank's modules.
    """

    def __init__(self, ranks: Sequence[Rank], settings: PrefetchSettings) -> None:
        self._ranks = ranks
        self._modules = ranks[0].modules
        self._memories = {layer: cast("StoreMemory", module.memory) for layer, module in self._modules.items()}
        self._settings = settings
        self._columns = np.concatenate([rank.columns for rank in ranks])
        self._num_slots = settings.num_slots or 2 * len(self._modules)
        widest = max((memory.table.row_bytes for memory in self._memories.values()), default=0)
        self.ring = StagingRing(
            self._num_slots if self._modules else 0,
            settings.max_tokens * len(self._columns) * widest,
            settings.slot_wait_seconds,
            pinned=torch.cuda.is_available(),
        )
        self.metrics = Metrics(tuple(self._modules))
        self._copiers: dict[tuple[int, torch.device], Copier] = {}

    def issue(
        self, tokens: Tokens, histories: Mapping[int, TorchHistory | None] | None, order: Sequence[int]
    ) -> Issued:
        """Send a fetch for every layer, in the order given; if one cannot be sent, those before it are ended."""
        self._check_size(tokens)
        fetches: dict[int, LayerFetch] = {}
        try:
            for layer in order:
                history = None if histories is None else histories[layer]
                rows = self._modules[layer].addressing.hash_on_host(*tokens, history)  # (B, T, columns of the hash)
                fetches[layer] = self._send(layer, rows)
            return Issued(fetches, {} if histories is None else self._advance(tokens, histories))
        except BaseException:
            for fetch in fetches.values():
                self._end(fetch)
            raise

    def _check_size(self, tokens: Tokens) -> None:
        if tokens.ids.size > self._settings.max_tokens:
            raise ValueError(
                f"a call may ask for max_tokens = {self._settings.max_tokens} tokens, got {tokens.ids.size}: ask in "
                "chunks, or raise max_tokens in the settings"
            )

    def _send(self, layer_id: int, rows: NDArray[np.int64]) -> LayerFetch:
        """Start the fetch of a layer's rows (B, T, columns of the hash)."""
        memory = self._memories[layer_id]
        ids = self._by_rank(rows)
        while True:
            terms = memory.terms()
            fetch = self._try_to_send(layer_id, memory.row_source(), terms, ids, (rows.shape[0], rows.shape[1]))
            if memory.terms_hold(terms):  # else another thread moved the table, before or after the ids were checked
                if fetch is not None:
                    self.metrics.add(layer_id, fetches=1, rows=ids.size, bytes=ids.size * terms.row_bytes)
                    return fetch
                raise InvalidBuffer(f"the table of layer {layer_id} refuses rows of the width that it says it has")
            if fetch is not None:
                self._end(fetch)

    def _try_to_send(
        self, layer_id: int, table: StoreTable, terms: FetchTerms, ids: NDArray[np.int64], shape: tuple[int, int]
    ) -> LayerFetch | None:
        """Do so once; None if the table, moved meanwhile, has rows of another width."""
        num_bytes = ids.size * terms.row_bytes
        if num_bytes > self.ring.slot_bytes:
            raise ValueError(
                f"the rows take {num_bytes} bytes, a staging buffer has {self.ring.slot_bytes}: the table's rows have "
                "become wider since the Prefetcher was made, make a new one"
            )
        slot = self.ring.lend()
        out = slot.array[:num_bytes].reshape(*ids.shape, terms.row_bytes)
        try:
            parts = self._parts(layer_id, *shape, terms.row_bytes)
            pending = table.prefetch(ids, out=out, timeout=self._settings.timeout_seconds)
        except Exception as error:  # an interrupt may come when rows are under way already: then the slot is lost
            self.ring.give_back(slot, is_quiet=_at_once)
            if isinstance(error, InvalidBuffer):
                return None
            raise
        return LayerFetch(pending, terms.row_format, slot, parts, self.ring, self._settings.timeout_seconds)

    def _by_rank(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of all ranks, each rank's together: (B, T, columns), or (n,) for several ranks."""
        if len(self._ranks) == 1:
            return rows if len(self._columns) == rows.shape[-1] else rows[..., self._columns]
        return np.concatenate([rows[..., rank.columns].reshape(-1) for rank in self._ranks])

    def _parts(self, layer_id: int, batch: int, length: int, row_bytes: int) -> list[Part]:
        parts, start = [], 0
        for number, rank in enumerate(self._ranks):
            shape = (batch, length, len(rank.columns), row_bytes)
            parts.append(Part(self._copier(number, rank.projections[layer_id].weight.device), start, shape))
            start += prod(shape)
        return parts

    def _copier(self, rank: int, device: torch.device) -> Copier:
        copier = self._copiers.get((rank, device))
        if copier is None:
            copier = self._copiers[rank, device] = make_copier(device, self._num_slots, self.ring.slot_bytes)
        return copier

    def _advance(self, tokens: Tokens, histories: Mapping[int, TorchHistory | None]) -> dict[int, TorchHistory]:
        """Return where the tokens leave the sequences: computed once for layers that hash alike and stood alike."""
        known: dict[object, TorchHistory] = {}
        after = {}
        for layer, history in histories.items():
            addressing = self._modules[layer].addressing
            key = (addressing.on_host.reader.made_by, addressing.masked_tokens_are_dead, id(history))
            if key not in known:
                known[key] = addressing.history_after(*tokens, history)
            after[layer] = known[key]
        return after

    def _end(self, fetch: LayerFetch) -> None:
        for rank in range(len(self._ranks)):
            fetch.finish(rank)


def _at_once() -> bool:
    return True
