"""Token ids to row numbers where the ids already are: the hashes of `engram_client`, on tensors of any device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from engram_client.hashing import LongcatHasher, NgramHasher, QwenPleHasher, StudyHasher
from engram_client.hashing.history import check_history
from engram_client.hashing.row_hasher import check_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from engram_client.hashing import NgramHistory
    from engram_client.hashing.polynomial import OrderHash

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class TorchHistory(NamedTuple):
    """What the next tokens of a batch of sequences can still see; opaque, as `NgramHistory` is."""

    tokens: Tensor
    """int64 (batch, past), oldest first."""
    documents: Tensor | None
    """int64 (batch,), the document of each sequence's last token; None where the stream has no sequence ids."""
    made_by: str


class TorchHasher(nn.Module):
    """Gives the integers of a hasher, with ids and rows on one device and without ever waiting for it.

    It is a module without parameters, so it can be part of a model, follow it to another device and be compiled without
    a graph break; its buffers are not saved. An id that the family refuses is an IndexError, which names it where the
    ids are on a CPU. On other devices and in compiled code no value is looked at on the host, and the device's own
    check of indices reports it: a bare IndexError on a CPU, or RuntimeError where inductor compiled the code; on a GPU
    an assertion there, which is a RuntimeError of whatever waits for the device next.

    Args:
        hasher: of any family.
        device: where the ids will be.
    """

    def __init__(
        self,
        hasher: NgramHasher | QwenPleHasher | LongcatHasher | StudyHasher,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.layer_ids, self.orders, self.columns = hasher.layer_ids, hasher.orders, hasher.columns
        self.num_rows = dict(hasher.num_rows)
        self.made_by, self.past, self.pad_id = hasher.reader.made_by, hasher.reader.past, hasher.reader.pad_id
        # -1 is no token, in families where no token ends a document
        self.end_id = hasher.spec.eos_id if isinstance(hasher, QwenPleHasher | LongcatHasher) else -1
        self.masked_end = isinstance(hasher, QwenPleHasher)
        self.negative_is_masked = isinstance(hasher, LongcatHasher)
        self.negative_is_refused = isinstance(hasher, QwenPleHasher | StudyHasher)
        self.token_map: Tensor | None
        token_map = hasher.token_map if isinstance(hasher, NgramHasher | StudyHasher) else None
        self.register_buffer("token_map", None if token_map is None else _tensor(token_map, device), persistent=False)
        self.vocab_size = (
            len(hasher.token_map) if isinstance(hasher, NgramHasher | StudyHasher) else hasher.spec.vocab_size
        )
        self.zeros: Tensor
        self.register_buffer("zeros", torch.zeros(2, dtype=torch.int64, device=device), persistent=False)
        self.formulas = nn.ModuleList([_formula(hasher, layer, device) for layer in self.layer_ids])

    def rows(
        self,
        token_ids: Tensor,
        layer: int,
        mask: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        history: TorchHistory | None = None,
    ) -> Tensor:
        """Return the row numbers, int64 (batch, seq, columns), on the device of the ids; else as `RowHasher.rows`.

        Raises:
            KeyError: there is no such layer.
            ValueError: shapes disagree, the history is of another hasher or batch, or one made with sequence ids is
                continued without them.
            TypeError: ids are not integers or the mask is not boolean.
        """
        check_layer(layer, self.layer_ids)
        window, _ = self._window(token_ids, mask, sequence_ids, history)
        rows: Tensor = self.formulas[self.layer_ids.index(layer)](window)
        return rows

    def forward(
        self,
        token_ids: Tensor,
        layer: int,
        mask: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        history: TorchHistory | None = None,
    ) -> Tensor:
        """Return `rows`."""
        return self.rows(token_ids, layer, mask, sequence_ids, history)

    def advance(
        self,
        history: TorchHistory | None,
        token_ids: Tensor,
        mask: Tensor | None = None,
        sequence_ids: Tensor | None = None,
    ) -> TorchHistory:
        """Return the history for the tokens after these; arguments and errors as for `rows`."""
        return self._window(token_ids, mask, sequence_ids, history)[1]

    def history_from(self, history: NgramHistory) -> TorchHistory:
        """Return a history of the NumPy hasher on this module's device, to go on with a stream begun there."""
        check_history(history.made_by, history.tokens.shape, self.made_by, (len(history.tokens), self.past))
        device = next(self.buffers()).device
        documents = None if history.documents is None else _tensor(history.documents, device)
        return TorchHistory(_tensor(history.tokens, device), documents, history.made_by)

    def _window(
        self, token_ids: Tensor, mask: Tensor | None, sequence_ids: Tensor | None, history: TorchHistory | None
    ) -> tuple[list[Tensor], TorchHistory]:
        """Return the ids 0, 1, ... `past` positions before each token, each (batch, seq), and the next history."""
        _check_arguments(token_ids, mask, sequence_ids)
        documents, takes_part = None, mask
        if sequence_ids is not None:
            documents = sequence_ids.to(torch.int64)
            takes_part = documents != 0 if mask is None else mask & (documents != 0)
        history = self._start(token_ids, documents) if history is None else history
        check_history(history.made_by, history.tokens.shape, self.made_by, (token_ids.shape[0], self.past))
        if documents is None and history.documents is not None:
            raise ValueError("the history was made with sequence_ids, so the tokens that continue it need them too")
        tokens, takes_part, ends = self._read(token_ids.to(torch.int64), takes_part)
        borders = _borders(takes_part, ends, documents, history, tokens)
        tokens = torch.cat([history.tokens, tokens], dim=1)  # (batch, past + seq)
        seen = [self._look_back(tokens, borders, distance) for distance in range(self.past + 1)]
        return seen, self._next(tokens, borders, documents, history)

    def _start(self, token_ids: Tensor, documents: Tensor | None) -> TorchHistory:
        batch = token_ids.shape[0]
        tokens = token_ids.new_full((batch, self.past), self.pad_id, dtype=torch.int64)
        return TorchHistory(tokens, None if documents is None else documents.new_zeros(batch), self.made_by)

    def _read(self, ids: Tensor, takes_part: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return ids as the family hashes them, which take part, and which end a document."""
        if takes_part is not None:
            ids = ids.masked_fill(~takes_part, self.pad_id if self.masked_end else 0)
        ids = self._in_vocabulary(ids)
        if self.masked_end:
            return ids, None, ids == self.end_id
        if self.negative_is_masked:
            takes_part = ids >= 0 if takes_part is None else takes_part & (ids >= 0)
            return ids, takes_part, takes_part & (ids == self.end_id)
        if self.token_map is not None:
            ids = torch.where(ids < 0, ids, self.token_map[ids.clamp(min=0)])
        return ids, takes_part, None

    def _in_vocabulary(self, ids: Tensor) -> Tensor:
        """Return the ids; those that are refused index what is not there, which the device itself reports."""
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_on_host(ids)
        refused = ids >= self.vocab_size
        if self.negative_is_refused:
            refused = refused | (ids < 0)
        return ids + self.zeros[refused.to(torch.int64) * len(self.zeros)]

    def _check_on_host(self, ids: Tensor) -> None:
        if ids.numel() == 0 or type(ids) is not Tensor:  # a fake tensor of torch's own tracing has no values
            return
        lowest, highest = (int(limit) for limit in torch.aminmax(ids))
        if highest >= self.vocab_size:
            what = "the vocabulary's size" if self.token_map is None else "the token map's length"
            raise IndexError(f"token ids must be below {self.vocab_size}, {what}, got {highest}")
        if self.negative_is_refused and lowest < 0:
            raise IndexError(f"token ids must not be negative (mask the tokens that take no part), got {lowest}")

    def _look_back(self, tokens: Tensor, borders: Tensor | None, distance: int) -> Tensor:
        first, seq = self.past - distance, tokens.shape[1] - self.past
        seen = tokens[:, first : first + seq]
        if borders is None:
            return seen
        columns = torch.arange(first, first + seq, device=tokens.device)
        return seen.masked_fill(columns < borders[:, :-1], self.pad_id)

    def _next(
        self, tokens: Tensor, borders: Tensor | None, documents: Tensor | None, history: TorchHistory
    ) -> TorchHistory:
        seq = tokens.shape[1] - self.past
        last = tokens[:, seq:].clone()
        if borders is not None:
            columns = torch.arange(seq, seq + self.past, device=tokens.device)
            last = last.masked_fill(columns < borders[:, -1:], self.pad_id)
        if documents is None:
            return TorchHistory(last, None, self.made_by)
        return TorchHistory(last, _with_previous(documents, history)[:, -1].clone(), self.made_by)


class _XorRows(nn.Module):
    """Rows of XOR mixes: the engram and qwen-ple families."""

    multipliers: Tensor
    primes: Tensor
    offsets: Tensor

    def __init__(self, hasher: NgramHasher | QwenPleHasher, layer: int, device: torch.device | str | None) -> None:
        super().__init__()
        primes = hasher.primes[layer]
        self.register_buffer("multipliers", _tensor(hasher.multipliers[layer], device), persistent=False)
        self.register_buffer("primes", _tensor(primes, device), persistent=False)
        self.register_buffer("offsets", _tensor(hasher.offsets[layer], device).reshape(primes.shape), persistent=False)

    def forward(self, seen: Sequence[Tensor]) -> Tensor:
        mix = seen[0] * self.multipliers[0]
        columns = []
        for k in range(1, len(seen)):
            mix = mix ^ (seen[k] * self.multipliers[k])
            columns.append(torch.remainder(mix.unsqueeze(-1), self.primes[k - 1]) + self.offsets[k - 1])
        return torch.cat(columns, dim=-1)


class _PolynomialRows(nn.Module):
    """Rows of polynomials: the longcat and study families."""

    def __init__(self, orders: Sequence[OrderHash], device: torch.device | str | None) -> None:
        super().__init__()
        self.num_orders = len(orders)
        for number, order in enumerate(orders):
            for name, array in order._asdict().items():
                self.register_buffer(f"{name}_{number}", _tensor(array, device), persistent=False)

    def forward(self, seen: Sequence[Tensor]) -> Tensor:
        columns = []
        for number in range(self.num_orders):
            weights = self.get_buffer(f"weights_{number}")  # (n, heads)
            total = seen[0].unsqueeze(-1) * weights[0]
            for k in range(1, weights.shape[0]):
                total = total + seen[k].unsqueeze(-1) * weights[k]
            local = torch.remainder(total, self.get_buffer(f"moduli_{number}"))
            local = torch.remainder(local, self.get_buffer(f"sizes_{number}"))
            columns.append(local + self.get_buffer(f"offsets_{number}"))
        return torch.cat(columns, dim=-1)


def _borders(
    takes_part: Tensor | None, ends: Tensor | None, documents: Tensor | None, history: TorchHistory, tokens: Tensor
) -> Tensor | None:
    """Return the leftmost column that each token, and the one after the piece, may see; as in `NgramWindow`."""
    if takes_part is None and ends is None and documents is None:
        return None
    batch, seq = tokens.shape
    past = history.tokens.shape[1]
    columns = torch.arange(past, past + seq, device=tokens.device).expand(batch, seq)
    before = torch.zeros_like(columns)
    if documents is not None:
        known = _with_previous(documents, history)
        before = torch.where(known[:, 1:] != known[:, :-1], columns, before)
    if takes_part is not None:
        before = torch.where(takes_part, before, columns + 1)
    after = torch.zeros_like(columns) if ends is None else torch.where(ends, columns + 1, 0)
    start = before.new_zeros(batch, 1)
    borders = torch.maximum(torch.cat([before, start], dim=1), torch.cat([start, after], dim=1))
    return torch.cummax(borders, dim=1).values


def _with_previous(documents: Tensor, history: TorchHistory) -> Tensor:
    """Put the document of the token before the piece in front, (batch, 1 + seq)."""
    previous = documents.new_ones(documents.shape[0]) if history.documents is None else history.documents
    return torch.cat([previous.unsqueeze(1), documents], dim=1)


def _check_arguments(token_ids: Tensor, mask: Tensor | None, sequence_ids: Tensor | None) -> None:
    if token_ids.dtype not in INTEGERS:
        raise TypeError(f"token_ids must be integers, got {token_ids.dtype}")
    if token_ids.ndim != 2:
        raise ValueError(f"token_ids must be of shape (batch, seq), got {tuple(token_ids.shape)}")
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask must be booleans, got {mask.dtype}")
    if sequence_ids is not None and sequence_ids.dtype not in INTEGERS:
        raise TypeError(f"sequence_ids must be integers, got {sequence_ids.dtype}")
    for name, given in (("mask", mask), ("sequence_ids", sequence_ids)):
        if given is not None and given.shape != token_ids.shape:
            raise ValueError(
                f"{name} must have the shape of token_ids, {tuple(token_ids.shape)}, got {tuple(given.shape)}"
            )


def _formula(
    hasher: NgramHasher | QwenPleHasher | LongcatHasher | StudyHasher, layer: int, device: torch.device | str | None
) -> nn.Module:
    if isinstance(hasher, NgramHasher | QwenPleHasher):
        return _XorRows(hasher, layer, device)
    return _PolynomialRows(hasher.order_hashes, device)


def _tensor(array: NDArray[np.int64], device: torch.device | str | None) -> Tensor:
    return torch.tensor(array, dtype=torch.int64, device=device)
