"""One call that asks for the rows of all Engram layers of a model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from engram_model.addressing import as_numpy
from engram_model.prefetch.issue import Issued, Issuer, Rank, Tokens
from engram_model.prefetch.metrics import Metrics, PrefetchStats
from engram_model.prefetch.outputs import FixedOutput
from engram_model.prefetch.pending_layer import LayerOfRank, PrefetchedLayer, PrefetchedLayers
from engram_model.prefetch.settings import PrefetchSettings
from engram_model.prefetch.shared_calls import SharedCalls
from engram_model.store_memory import StoreMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from engram_model.memory import PendingEmbeddings
    from engram_model.module import EngramModule
    from engram_model.stream_state import EngramState


class Prefetcher:
    """Asks for the rows of all Engram layers of a model at once, and has them where the layers compute in time.

    Rows land in a ring of staging buffers that are used again and again (pinned where there is CUDA), go to the device
    on a stream of their own, are handed over with an event, and are decoded there. Embeddings are the very bits that
    the layers look up themselves. Layers whose table is in the module are passed through as they are.

    Host memory: `num_slots` buffers for `max_tokens` tokens of the widest layer; on CUDA the same once more on the
    device; and a fixed output for `max_tokens` tokens of each layer. Each of a call's n-grams is asked for once while
    that pays (the settings' `deduplicate`); unfolding them takes memory for as many more decoded rows as are distinct.

    Args:
        modules: the Engram layers, each with another layer id.
        columns: which of the hash's columns this rank of a tensor-parallel group owns, ascending integers; the
            embeddings then are (B, T, len(columns) * embedding_dim), for the caller to gather or to project with its
            part of the weights. All, unless told.
        settings: limits, and what to do about late rows.

    Raises:
        ValueError: two modules are of one layer, a column is not one of the hash's, columns are given and a table is
            in its module, or the settings' num_slots are fewer than the layers.
    """

    def __init__(
        self,
        modules: Iterable[EngramModule],
        *,
        columns: Iterable[int] | None = None,
        settings: PrefetchSettings | None = None,
    ) -> None:
        settings = settings or PrefetchSettings()
        by_layer = _by_layer(modules)
        rank = _rank(by_layer, columns)
        self._join(by_layer, rank, 0, SharedCalls(Issuer([rank], settings), 1), settings)

    @classmethod
    def for_ranks(
        cls,
        ranks: Sequence[Iterable[EngramModule]],
        *,
        columns: Sequence[Iterable[int] | None],
        settings: PrefetchSettings | None = None,
    ) -> list[Self]:
        """Return one prefetcher for each rank of this process; they share fetches and staging buffers.

        Every rank, from a thread of its own or not, makes the same calls in the same order: the first to make one sends
        the fetches, with the columns of all, and the others join. A staging buffer is free again when all ranks have
        taken or discarded its rows, so the settings' slots are those of all of them. Ranks in other processes share
        nothing; each asks for its own columns.

        Args:
            ranks: each rank's Engram layers; the tables are those of the first rank's.
            columns: what each rank owns, as for `Prefetcher`; None is all.
            settings: of all ranks.

        Raises:
            ValueError: as `Prefetcher`; also ranks whose layers are not those of the first, hash for hash.
        """
        settings = settings or PrefetchSettings()
        by_layer = [_by_layer(modules) for modules in ranks]
        shares = [_rank(modules, owned) for modules, owned in zip(by_layer, columns, strict=True)]
        _check_alike(shares)
        calls = SharedCalls(Issuer(shares, settings), len(shares))
        prefetchers = [cls.__new__(cls) for _ in shares]
        for number, prefetcher in enumerate(prefetchers):
            prefetcher._join(by_layer[number], shares[number], number, calls, settings)
        return prefetchers

    def prefetch(
        self,
        input_ids: Tensor | ArrayLike,
        mask: Tensor | None = None,
        *,
        sequence_ids: Tensor | NDArray[np.int64] | None = None,
        states: Mapping[int, EngramState] | None = None,
        deadlines: Mapping[int, float] | None = None,
    ) -> PrefetchedLayers:
        """Ask for the rows of raw token ids (B, T) of all layers; return as soon as the requests are on their way.

        Ids are hashed on the CPU, layer by layer; unless they are few, the first fetch travels while the next layer is
        hashed.

        Args:
            input_ids: raw token ids (B, T), at most `max_tokens` of them.
            mask: booleans (B, T), for layers with `config.masked_tokens_are_dead`, as `forward` gets it.
            sequence_ids: integers (B, T), as `forward` gets them.
            states: layer id to state, one for each layer, for sequences that come in pieces. Their ids are moved on,
                so the next piece can be asked for before this one's turn; on an error they are left as they were.
            deadlines: layer id to when its turn comes, in any unit: the earliest is sent first. In the order of the
                layer ids, unless told.

        Returns:
            Layer id to what `EngramModule.forward` takes as `memory_embeddings`. Whatever is not waited for must be
            discarded, or it keeps its staging buffer.

        Raises:
            ValueError: ids are not (B, T), are more than `max_tokens`, states or deadlines are not those of the layers,
                a state is of other sequences, or another rank asked for other tokens.
            IndexError, TypeError: token ids beyond the token map, or no integers.
            RingFull: no staging buffer came free within `slot_wait_seconds`.
            EngramError: what a table raises before anything is sent.
        """
        self._check_layers("states", states)
        self._check_layers("deadlines", deadlines)
        order = self._in_store if deadlines is None else sorted(self._in_store, key=deadlines.__getitem__)
        pasts = None if states is None else {layer: states[layer].history for layer in self._in_store}
        local = self._look_up_locally(input_ids, mask, sequence_ids, states)
        issued = Issued({}, {})
        if order:  # else the ids need not come to the host
            issued = self._calls.join(self._rank, _tokens(input_ids, mask, sequence_ids), pasts, order)
        after = issued.histories | {layer: state.history for layer, (_, state) in local.items() if state is not None}
        for layer, history in after.items():
            states[layer].history = history  # type: ignore[index]  # there are histories only if there are states
        layers: dict[int, PendingEmbeddings] = {layer: pending for layer, (pending, _) in local.items()}
        for layer, fetch in issued.fetches.items():
            layers[layer] = PrefetchedLayer(fetch, self._layers[layer])
        return PrefetchedLayers(layers)

    def hold_frequent_rows(self, input_ids: Tensor | ArrayLike) -> dict[int, int]:
        """Fetch the rows that a sample of text reads most often, and hold them on the device from now on.

        Each layer holds as many as fit into the settings' `hot_bytes`, of those that the sample (B, T), of any size,
        reads more than once. What is held is not asked for, is found by one look-up for a whole call, and never changes
        a result: rows are held as the bytes that the store sends, and left aside as soon as their table moves to
        another version or the layer to another device. Called again, it holds others instead. It pays where rows are
        asked for faster than the way from the store can carry, and text is like the sample; it costs the host a
        look-up for each row. Ranks that share fetches hold the same rows, each on its device; one of them calls this.

        Returns:
            Layer id to the rows held.

        Raises:
            ValueError: the settings' `hot_bytes` hold no row of a layer, or a table does not tell its version.
            EngramError: as fetching.
        """
        return self._calls.issuer.hold_frequent_rows(_tokens(input_ids, None, None))

    def output(self, layer_id: int, batch: int, length: int) -> Tensor:
        """Return a layer's fixed output, (batch, length, columns * embedding_dim), for a graph to be captured with.

        `wait`, without gradients, leaves a call's embeddings of that shape at this very address; other shapes of the
        same layer lie in the same memory. Waiting for the rows and replaying the graph belong on one stream; nothing
        may be under way while a graph is captured.

        Raises:
            KeyError: the layer has no table in a store.
            ValueError: so many tokens are more than `max_tokens`.
        """
        layer = self._layers[layer_id]
        if batch * length > self._settings.max_tokens:
            raise ValueError(f"max_tokens is {self._settings.max_tokens}, got {batch} x {length}")
        return layer.output.view((batch, length, self._width(layer_id)), like=layer.projection.weight)

    def stats(self) -> PrefetchStats:
        """Return what was fetched, and how long layers waited for it, since the prefetcher was made.

        Fetches, rows, bytes and staging buffers are those of all ranks that share them.
        """
        sent, ours = self._calls.issuer.metrics.layers(), self._metrics.layers()
        for layer, stats in ours.items():
            for name in ("fetches", "rows", "sent_rows", "held_rows", "bytes"):
                setattr(stats, name, getattr(sent[layer], name))
        return PrefetchStats(layers=ours, ring=self._calls.issuer.ring.stats())

    def __repr__(self) -> str:
        ring = self._calls.issuer.ring.stats()
        return (
            f"Prefetcher(layers={sorted(self._modules)}, in_store={list(self._in_store)}, num_slots={ring.num_slots}, "
            f"slots_in_use={ring.in_use}, max_tokens={self._settings.max_tokens})"
        )

    def _join(
        self, modules: dict[int, EngramModule], rank: Rank, number: int, calls: SharedCalls, settings: PrefetchSettings
    ) -> None:
        self._modules = modules
        self._settings = settings
        self._calls = calls
        self._rank = number
        self._in_store = tuple(sorted(rank.modules))
        self._metrics = Metrics(self._in_store)
        self._num_columns = len(rank.columns)
        self._layers = {
            layer: LayerOfRank(
                layer_id=layer,
                rank=number,
                projection=rank.projections[layer],
                output=FixedOutput(settings.max_tokens * self._width(layer)),
                distinct=FixedOutput(settings.max_tokens * self._width(layer)),
                metrics=self._metrics,
                late=settings.late,
            )
            for layer in self._in_store
        }

    def _width(self, layer_id: int) -> int:
        return self._num_columns * self._modules[layer_id].config.embedding_dim

    def _check_layers(self, name: str, by_layer: Mapping[int, object] | None) -> None:
        if by_layer is not None and by_layer.keys() != self._modules.keys():
            raise ValueError(f"{name} must be given for the layers {sorted(self._modules)}, got {sorted(by_layer)}")

    def _look_up_locally(
        self,
        input_ids: Tensor | ArrayLike,
        mask: Tensor | None,
        sequence_ids: Tensor | NDArray[np.int64] | None,
        states: Mapping[int, EngramState] | None,
    ) -> dict[int, tuple[PendingEmbeddings, EngramState | None]]:
        """Return what layers with a table of their own look up, and a copy of their state, moved on."""
        found = {}
        for layer in self._modules.keys() - set(self._in_store):
            state = None if states is None else copy.copy(states[layer])
            pending = self._modules[layer].prefetch_embeddings(input_ids, mask, sequence_ids=sequence_ids, state=state)
            found[layer] = (pending, state)
        return found


def _tokens(
    input_ids: Tensor | ArrayLike, mask: Tensor | None, sequence_ids: Tensor | NDArray[np.int64] | None
) -> Tokens:
    return Tokens(
        np.asarray(as_numpy(input_ids)),
        None if mask is None else np.asarray(as_numpy(mask)),
        None if sequence_ids is None else np.asarray(as_numpy(sequence_ids)),
    )


def _by_layer(modules: Iterable[EngramModule]) -> dict[int, EngramModule]:
    by_layer: dict[int, EngramModule] = {}
    for module in modules:
        if module.layer_id in by_layer:
            raise ValueError(f"every module must be of another layer, got two of layer {module.layer_id}")
        by_layer[module.layer_id] = module
    return by_layer


def _rank(modules: Mapping[int, EngramModule], columns: Iterable[int] | None) -> Rank:
    in_store = {layer: module for layer, module in modules.items() if isinstance(module.memory, StoreMemory)}
    numbers = {module.config.num_columns for module in in_store.values()}
    if len(numbers) > 1:
        raise ValueError(f"all layers must have as many hash columns, got {sorted(numbers)}")
    num_columns = max(numbers, default=0)
    projections = {layer: module.value_proj for layer, module in in_store.items()}
    if columns is None:
        return Rank(in_store, np.arange(num_columns), projections)
    if in_store.keys() != modules.keys():
        raise ValueError(
            f"columns need tables in a store, the layers {sorted(modules.keys() - in_store.keys())} have their own"
        )
    owned = np.array(list(columns))
    if (
        owned.size == 0
        or owned.dtype.kind not in "iu"
        or owned[0] < 0
        or owned[-1] >= num_columns
        or (np.diff(owned) <= 0).any()
    ):
        raise ValueError(
            f"columns must be ascending integers from 0 to {num_columns - 1}, at least one, got {owned.tolist()}"
        )
    return Rank(in_store, owned, projections)


def _check_alike(ranks: Sequence[Rank]) -> None:
    """Refuse ranks whose layers do not hash as those of the first."""
    first, *others = [
        {layer: module.hasher.fingerprint(layer) for layer, module in rank.modules.items()} for rank in ranks
    ]
    for number, hashes in enumerate(others, start=1):
        if hashes != first:
            raise ValueError(f"rank {number} has layers that hash as {hashes}, rank 0 as {first}")
