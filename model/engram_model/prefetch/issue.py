"""From token ids to fetches under way: each layer is hashed and asked for, in the order of their turns."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from engram_client.errors import InvalidBuffer
from engram_client.loop_thread import begun_together
from engram_model.addressing import history_of
from engram_model.prefetch.asked import Asked, ask_once, ask_plainly, leave_out_held
from engram_model.prefetch.hold import HeldLayer, hold_most_frequent
from engram_model.prefetch.layer_fetch import LayerFetch
from engram_model.prefetch.metrics import Metrics
from engram_model.prefetch.repeats import Repeats
from engram_model.prefetch.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from engram_client.hashing.history import NgramWindow
    from engram_model.module import EngramModule
    from engram_model.prefetch.hot_rows import HotRows
    from engram_model.prefetch.settings import PrefetchSettings
    from engram_model.store_memory import FetchTerms, StoreMemory
    from engram_model.torch_hashing import TorchHistory

_FEW_TOKENS = 256  # are hashed for all layers sooner than the client's thread could have sent the first fetch


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
        self._columns = [rank.columns for rank in ranks]
        self._repeats = Repeats(settings.deduplicate)
        widest = max((memory.table.row_bytes for memory in self._memories.values()), default=0)
        self._staging = Staging(ranks, settings, widest)
        self.ring = self._staging.ring
        self.metrics = Metrics(tuple(self._modules))
        self._hot: dict[int, HotRows] = {}

    def issue(
        self, tokens: Tokens, histories: Mapping[int, TorchHistory | None] | None, order: Sequence[int]
    ) -> Issued:
        """Send a fetch for every layer, in the order given; if one cannot be sent, those before it are ended."""
        self._check_size(tokens)
        fetches: dict[int, LayerFetch] = {}
        windows: dict[int, NgramWindow] = {}
        sending = begun_together() if tokens.ids.size <= _FEW_TOKENS else nullcontext()
        with sending, ExitStack() as undo:  # undone is all of it, even if one step is interrupted
            for layer, window in self._windows(tokens, histories, order):
                windows[layer] = window
                fetches[layer] = self._send(layer, window)
                undo.callback(self._end, fetches[layer])
            issued = Issued(fetches, {} if histories is None else _histories_of(windows))
            undo.pop_all()
        return issued

    def _check_size(self, tokens: Tokens) -> None:
        if tokens.ids.size > self._settings.max_tokens:
            raise ValueError(
                f"a call may ask for max_tokens = {self._settings.max_tokens} tokens, got {tokens.ids.size}: ask in "
                "chunks, or raise max_tokens in the settings"
            )

    def _windows(
        self, tokens: Tokens, histories: Mapping[int, TorchHistory | None] | None, order: Sequence[int]
    ) -> Iterator[tuple[int, NgramWindow]]:
        """Give each layer its tokens as they are hashed: the same for layers that hash alike and stood alike."""
        known: dict[object, NgramWindow] = {}
        for layer in order:
            addressing = self._modules[layer].addressing
            history = None if histories is None else histories[layer]
            key = (addressing.on_host.reader.made_by, addressing.masked_tokens_are_dead, id(history))
            if key not in known:
                known[key] = addressing.window(*tokens, history)
            yield layer, known[key]

    def _send(self, layer_id: int, window: NgramWindow) -> LayerFetch:
        """Start the fetch of a layer's rows."""
        memory = self._memories[layer_id]
        wanted, hash_seconds = self._ask(layer_id, window)
        while True:
            terms = memory.terms()
            hot = self._usable_hot(layer_id, terms)
            asked = wanted if hot is None else leave_out_held(wanted, hot)
            fetch = self._try_to_send(memory, terms, layer_id, asked, hot, hash_seconds)
            if memory.terms_hold(terms):  # else another thread moved the table, before or after the ids were checked
                if fetch is not None:
                    sent = asked.ids.size
                    self.metrics.add(
                        layer_id,
                        fetches=1,
                        rows=asked.num_rows,
                        sent_rows=sent,
                        held_rows=asked.num_held,
                        bytes=sent * terms.row_bytes,
                    )
                    return fetch
                raise InvalidBuffer(f"the table of layer {layer_id} refuses rows of the width that it says it has")
            if fetch is not None:
                self._end(fetch)

    def _ask(self, layer_id: int, window: NgramWindow) -> tuple[Asked, float]:
        """Return what to ask for, and the seconds that this took."""
        hasher = self._modules[layer_id].addressing.on_host
        num_rows = window.num_tokens * sum(map(len, self._columns))
        began = time.perf_counter()
        if self._repeats.say_once(num_rows):
            asked = ask_once(hasher.distinct_rows_of(window, layer_id), self._columns)
        else:
            asked = ask_plainly(hasher.rows_of(window, layer_id), self._columns)
        return asked, time.perf_counter() - began

    def _try_to_send(
        self,
        memory: StoreMemory,
        terms: FetchTerms,
        layer_id: int,
        asked: Asked,
        hot: HotRows | None,
        hash_seconds: float,
    ) -> LayerFetch | None:
        """Do so once; None if the table, moved meanwhile, has rows of another width."""
        table = memory.row_source()
        staged = self._staging.lend(asked, terms.row_bytes, self._devices(layer_id), hot)
        try:
            pending = table.prefetch(asked.ids, out=staged.out, timeout=self._settings.timeout_seconds)
        except Exception as error:  # an interrupt may come when rows are under way already: then the slot is lost
            self.ring.give_back(staged.slot)
            if isinstance(error, InvalidBuffer):
                return None
            raise
        report = _Report(self._repeats, asked, hash_seconds)
        return LayerFetch(pending, terms.row_format, staged, self.ring, self._settings.timeout_seconds, report)

    def hold_frequent_rows(self, tokens: Tokens) -> dict[int, int]:
        """Hold on the devices what a sample reads most often; return by layer how many rows."""
        rows_a_call = self._settings.max_tokens * sum(map(len, self._columns))
        for layer, window in self._windows(tokens, None, tuple(self._modules)):
            rows = self._modules[layer].addressing.on_host.rows_of(window, layer)
            sample = np.concatenate([rows[..., columns].reshape(-1) for columns in self._columns])
            self._hot.pop(layer, None)
            held = HeldLayer(layer, self._memories[layer], self._devices(layer), rows_a_call)
            if (hot := hold_most_frequent(held, sample, self._settings)) is not None:
                self._hot[layer] = hot
        return {layer: len(hot) for layer, hot in self._hot.items()}

    def _usable_hot(self, layer_id: int, terms: FetchTerms) -> HotRows | None:
        """Return the rows that are held of the table as it is now, where the layer is now."""
        hot = self._hot.get(layer_id)
        if hot is None or not hot.are_of(terms):
            return None
        return hot if all(hot.on(device) is not None for device in self._devices(layer_id)) else None

    def _devices(self, layer_id: int) -> list[torch.device]:
        return [rank.projections[layer_id].weight.device for rank in self._ranks]

    def _end(self, fetch: LayerFetch) -> None:
        for rank in range(len(self._ranks)):
            fetch.finish(rank)


class _Report:
    """Tells `Repeats` how a fetch went."""

    def __init__(self, repeats: Repeats, asked: Asked, hash_seconds: float) -> None:
        self._repeats = repeats
        self._num_rows, self._sent_rows = asked.num_rows, asked.ids.size
        self._once = asked.is_once
        self._hash_seconds = hash_seconds
        repeats.begin()

    def ended(self) -> None:
        self._repeats.end(self._sent_rows)

    def used(self, host_seconds: float) -> None:
        self._repeats.record(self._num_rows, self._sent_rows, self._hash_seconds + host_seconds, once=self._once)


def _histories_of(windows: Mapping[int, NgramWindow]) -> dict[int, TorchHistory]:
    """Return by layer where the tokens leave the sequences; layers with one window share one."""
    known = {id(window): history_of(window) for window in {id(each): each for each in windows.values()}.values()}
    return {layer: known[id(window)] for layer, window in windows.items()}
