"""What a call of the `Prefetcher` hands out: for each layer, embeddings that are on their way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import torch

from engram_client import formats
from engram_client.errors import TimeLimitExceeded, Unavailable
from engram_model.memory import RowsLate
from engram_model.prefetch.hot_rows import put_together
from engram_model.rows import DTYPE_OF_FORMAT, decode_into, decode_rows

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Literal, Self

    from torch import Tensor, nn

    from engram_client.formats import RowFormat
    from engram_model.memory import PendingEmbeddings
    from engram_model.prefetch.layer_fetch import LayerFetch
    from engram_model.prefetch.metrics import Metrics
    from engram_model.prefetch.outputs import FixedOutput

_LATE_ERRORS = (Unavailable, TimeLimitExceeded)  # the rows may be right, they are only not here


class LayerOfRank(NamedTuple):
    """What stays the same from call to call for one layer of one rank."""

    layer_id: int
    rank: int
    projection: nn.Linear
    """Whose weight tells where the embeddings go, and as what."""
    output: FixedOutput
    distinct: FixedOutput
    """Where the decoded rows lie of which each n-gram is there once, before they are unfolded."""
    metrics: Metrics
    late: Literal["wait", "zero"]


class PrefetchedLayer:
    """Memory embeddings of one layer on their way; `EngramModule.forward` takes it as `memory_embeddings`.

    It holds a staging buffer until `wait` or `discard`, and belongs to one thread.
    """

    def __init__(self, fetch: LayerFetch, layer: LayerOfRank) -> None:
        self.waited_seconds = 0.0
        self._fetch: LayerFetch | None = fetch
        self._layer = layer
        self._embeddings: Tensor | None = None
        self._turn: int | None = None
        self._error: Exception | None = None

    def done(self) -> bool:
        """Tell whether `wait` would return, or raise, at once."""
        return self._fetch is None or self._fetch.is_done()

    def wait(self, timeout: float | None = None) -> Tensor:
        """Return the embeddings (B, T, columns * embedding_dim), with the device and data type of the layer by now.

        Unless gradients are recorded, they lie in the layer's fixed output buffer, and stay there until the layer's
        next rows are waited for. `timeout` is in seconds; the fetch has a time limit of its own. A fetch that was given
        up is over: waiting again raises the same error.

        Raises:
            EngramError: what the store raised; TimeLimitExceeded when the rows were not there in time.
            RowsLate: they were not there at the layer's turn, and the settings say not to wait.
            RuntimeError: they were discarded, or the output buffer holds those of a later call by now.
        """
        if self._fetch is not None:
            self._take(self._fetch, timeout)
        if self._error is not None:
            raise self._error
        if self._embeddings is None:
            raise RuntimeError(f"the rows of layer {self._layer.layer_id} were discarded, they cannot be waited for")
        if self._turn is not None and not self._layer.output.holds(self._turn):
            raise RuntimeError(
                f"the embeddings of layer {self._layer.layer_id} were taken before, and its output buffer holds those "
                "of a later call by now: copy what is needed for longer, or record gradients"
            )
        return self._embeddings

    def discard(self) -> None:
        """Have the fetch end, if it goes on, and its staging buffer freed as soon as it has; returns at once.

        Nothing happens if the rows were taken before.
        """
        fetch, self._fetch = self._fetch, None
        if fetch is not None:
            self._count(discarded=1)
            fetch.finish(self._layer.rank)

    def _take(self, fetch: LayerFetch, timeout: float | None) -> None:
        self._fetch = None
        try:
            self._come_to_turn(fetch, timeout)
            self._embeddings = self._decode(fetch)
        except Exception as error:
            self._error = error
        finally:
            fetch.finish(self._layer.rank)

    def _come_to_turn(self, fetch: LayerFetch, timeout: float | None) -> None:
        """Wait for the rows, or say that they are late, and count either."""
        is_late = not fetch.is_done()
        if self._layer.late == "zero" and fetch.missed_turn():
            self._count(turns=1, late=int(is_late), passed_through=1)
            raise self._rows_late()
        started = time.perf_counter()
        try:
            fetch.wait(timeout)
        except Exception as error:
            is_passed_through = self._layer.late == "zero" and isinstance(error, _LATE_ERRORS)
            self._count(turns=1, late=int(is_late), failed=1, passed_through=int(is_passed_through))
            if is_passed_through:
                raise self._rows_late() from error
            raise
        else:
            hidden_seconds = max(0.0, min(started, fetch.arrived_at) - fetch.sent_at)
            self._count(turns=1, late=int(is_late), hidden_seconds=hidden_seconds)
        finally:
            if is_late:
                self.waited_seconds = time.perf_counter() - started
                self._count(waited_seconds=self.waited_seconds)

    def _rows_late(self) -> RowsLate:
        return RowsLate(
            f"the rows of layer {self._layer.layer_id} are not there at its turn, and late='zero' says not to wait"
        )

    def _decode(self, fetch: LayerFetch) -> Tensor:
        """Return the embeddings of the rows that have landed."""
        began = time.perf_counter()
        copy = fetch.copy_for(self._layer.rank)
        part = fetch.part(self._layer.rank)
        rows, *numbers = copy.hand_over()  # (sent, row_bytes)
        if part.held is not None:
            *numbers, which, places = numbers
            rows = put_together(rows, part.held, which, places)
        rows = rows.view(*part.share.shape, rows.shape[-1])
        width = formats.decoded_shape(fetch.row_format, (rows.shape[-1],))
        out = self._new_output(part.share.unfolded_shape + width)
        if numbers:
            self._unfold(rows, fetch.row_format, numbers[0], out)
        else:
            decode_into(rows, fetch.row_format, out)
        copy.was_read()
        fetch.was_used(time.perf_counter() - began)
        return out.flatten(-2)

    def _unfold(self, rows: Tensor, row_format: RowFormat, inverse: Tensor, out: Tensor) -> None:
        """Decode distinct rows (distinct, width, row_bytes) and put them where `inverse` says."""
        if DTYPE_OF_FORMAT.get(row_format.name) == out.dtype:
            values = decode_rows(rows, row_format).to(out.device)
        else:
            values = self._layer.distinct.view(formats.decoded_shape(row_format, tuple(rows.shape)), like=out)
            decode_into(rows, row_format, values)
        if out.numel():
            places = inverse.to(out.device).flatten()
            torch.index_select(values.flatten(1), 0, places, out=out.view(len(places), -1))

    def _new_output(self, shape: tuple[int, ...]) -> Tensor:
        """Return the fixed buffer; memory of its own if gradients are recorded, as they keep what the layer reads."""
        weight, output = self._layer.projection.weight, self._layer.output
        if torch.is_grad_enabled():
            return torch.empty(shape, device=weight.device, dtype=weight.dtype)
        self._turn = output.next_turn()
        return output.view(shape, like=weight)

    def _count(self, **amounts: float) -> None:
        self._layer.metrics.add(self._layer.layer_id, **amounts)


class PrefetchedLayers(Mapping[int, "PendingEmbeddings"]):
    """What one call asked for: layer id to what `EngramModule.forward` takes as `memory_embeddings`.

    As a context manager it discards, at the end, what no layer has taken.
    """

    def __init__(self, layers: Mapping[int, PendingEmbeddings]) -> None:
        self._layers = layers

    def __getitem__(self, layer_id: int) -> PendingEmbeddings:
        return self._layers[layer_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        # Of a table in its module there is nothing to wait for.
        done = [layer for layer, one in self._layers.items() if not isinstance(one, PrefetchedLayer) or one.done()]
        return f"PrefetchedLayers(layers={sorted(self._layers)}, done={sorted(done)})"

    def discard(self) -> None:
        """Discard what no layer has taken, as `PrefetchedLayer.discard` does.

        Where a state has moved on is not undone; a copy of it, made before the call, is the mark to come back to.
        """
        with ExitStack() as discards:  # all of them, even if one is interrupted
            for layer in self._layers.values():
                if isinstance(layer, PrefetchedLayer):
                    discards.callback(layer.discard)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()
