"""The ways in which the Engram layers get their rows; the model and its weights are the same for all.

- held: the ideal. The encoded rows lie in memory, hashed and gathered before the step began, as a prefetch that costs
  nothing would leave them; the layer only decodes them, into memory that is used again, as the prefetcher does.
- in the layer: nothing happens before the layer's turn. It hashes, asks a table, waits and decodes.
- prefetched: one call before the first block asks for the rows of all layers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import numpy as np
import torch
from bench.end_to_end.size import ROW_FORMAT
from numpy.typing import NDArray
from torch import Tensor

from engram_client.formats import find_format
from engram_model import EngramModule, EngramState, Prefetcher, PrefetchSettings
from engram_model.memory import PendingEmbeddings
from engram_model.rows import decode_rows

Modules = Mapping[int, EngramModule]
States = Mapping[int, EngramState]
Embeddings = Mapping[int, PendingEmbeddings]


class Form(Protocol):
    """Called in this order for the pieces of one sequence of calls; only `begin` is inside what is timed."""

    def prepare(self, pieces: Sequence[Tensor], states: States) -> None:
        """Do what the form has done before the first step; the states are not moved."""
        ...

    def begin(self, input_ids: Tensor, states: States) -> AbstractContextManager[Embeddings]:
        """Begin a step on ids (B, T): return what each layer waits for at its turn."""
        ...


class Held:
    """Rows that are there before the step; `rows` are the whole tables, (num_rows, row_bytes) by layer id."""

    def __init__(self, modules: Modules, rows: Mapping[int, NDArray[np.uint8]]) -> None:
        self._modules = modules
        self._rows = rows
        self._outputs: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self._ready: deque[dict[int, PendingEmbeddings]] = deque()

    def prepare(self, pieces: Sequence[Tensor], states: States) -> None:
        ahead = {layer: EngramState(states[layer].history) for layer in self._modules}
        self._ready.clear()
        for input_ids in pieces:
            self._ready.append({layer: self._held(layer, input_ids, ahead[layer]) for layer in self._modules})

    def begin(self, input_ids: Tensor, states: States) -> AbstractContextManager[Embeddings]:  # noqa: ARG002
        return nullcontext(self._ready.popleft())

    def _held(self, layer: int, input_ids: Tensor, state: EngramState) -> HeldRows:
        module = self._modules[layer]
        rows = self._rows[layer][module.row_ids(input_ids, state=state)]  # (B, T, columns, row_bytes)
        shape = (*rows.shape[:-1], module.config.embedding_dim)
        output = self._outputs.setdefault((layer, shape), torch.empty(shape))
        return HeldRows(rows, output)


class HeldRows:
    """Encoded rows of one layer and one step."""

    waited_seconds = 0.0
    _FORMAT = find_format(ROW_FORMAT)

    def __init__(self, rows: NDArray[np.uint8], output: Tensor) -> None:
        self._rows = rows
        self._output = output
        self.turn_at = 0.0
        """When the layer's turn came, as time.perf_counter()."""

    def wait(self, timeout: float | None = None) -> Tensor:  # noqa: ARG002  the interface's; the rows are here
        self.turn_at = time.perf_counter()
        return decode_rows(self._rows, self._FORMAT, out=self._output).flatten(-2)


class InLayer:
    """Rows that are asked for at the layer's turn, from the tables of the modules."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def prepare(self, pieces: Sequence[Tensor], states: States) -> None:
        pass

    def begin(self, input_ids: Tensor, states: States) -> AbstractContextManager[Embeddings]:
        return nullcontext(
            {layer: _LookUp(module, input_ids, states[layer]) for layer, module in self._modules.items()}
        )


class _LookUp:
    """A look-up that begins when it is waited for."""

    waited_seconds = 0.0

    def __init__(self, module: EngramModule, input_ids: Tensor, state: EngramState) -> None:
        self._module, self._input_ids, self._state = module, input_ids, state

    def wait(self, timeout: float | None = None) -> Tensor:
        pending = self._module.prefetch_embeddings(self._input_ids, state=self._state)
        embeddings = pending.wait(timeout)
        self.waited_seconds = pending.waited_seconds
        return embeddings


class Prefetched:
    """Rows that one call asks for before the first block."""

    def __init__(self, modules: Modules, max_tokens: int) -> None:
        self.prefetcher = Prefetcher(modules.values(), settings=PrefetchSettings(max_tokens=max_tokens))

    def prepare(self, pieces: Sequence[Tensor], states: States) -> None:
        pass

    def begin(self, input_ids: Tensor, states: States) -> AbstractContextManager[Embeddings]:
        return self.prefetcher.prefetch(input_ids, states=states)


class OnlyOnePrefetched:
    """Rows of one layer prefetched, those of the others held: no wait of another layer gives its fetch more time."""

    def __init__(self, layer: int, modules: Modules, rows: Mapping[int, NDArray[np.uint8]], max_tokens: int) -> None:
        self._layer = layer
        self._held = Held({other: module for other, module in modules.items() if other != layer}, rows)
        self._prefetched = Prefetched({layer: modules[layer]}, max_tokens)

    def prepare(self, pieces: Sequence[Tensor], states: States) -> None:
        self._held.prepare(pieces, states)

    @contextmanager
    def begin(self, input_ids: Tensor, states: States) -> Iterator[Embeddings]:
        own = {self._layer: states[self._layer]}
        with self._held.begin(input_ids, states) as held, self._prefetched.begin(input_ids, own) as pending:
            yield {**held, **pending}
