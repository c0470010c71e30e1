"""Token ids to row numbers where they are needed: on the host for a store, on the device for a table of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from engram_client.hashing import NgramHasher, NgramHistory, StudyHasher, StudySpec
from engram_model.torch_hashing import TorchHasher, TorchHistory

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    from engram_client.hashing.history import NgramWindow
    from engram_model.config import EngramConfig
    from engram_model.stream_state import EngramState


class Addressing(nn.Module):
    """One layer's hash, in NumPy and in torch; both give the same integers.

    NumPy's form checks the ids. Torch's never waits for the device, and can be compiled.
    """

    def __init__(self, config: EngramConfig, layer_id: int, token_map: ArrayLike | None) -> None:
        super().__init__()
        self.layer_id = layer_id
        self.masked_tokens_are_dead = config.masked_tokens_are_dead
        self.on_host = make_hasher(config, np.arange(config.vocab_size) if token_map is None else token_map)
        _check_vocabulary(config, self.on_host, given=token_map is not None)
        self.on_device = TorchHasher(self.on_host, torch.get_default_device())

    def host_rows(
        self,
        ids: Tensor | ArrayLike,
        mask: Tensor | ArrayLike | None,
        sequence_ids: Tensor | ArrayLike | None,
        state: EngramState | None,
    ) -> tuple[NDArray[np.int64], TorchHistory | None]:
        """Return the rows (B, T, columns), and with a state the history for the tokens after these; by NumPy."""
        documents = None if sequence_ids is None else as_numpy(sequence_ids)
        takes_part = None if mask is None else as_numpy(mask)
        window = self.window(as_numpy(ids), takes_part, documents, None if state is None else state.history)
        rows = self.on_host.rows_of(window, self.layer_id)
        return rows, None if state is None else history_of(window)

    def window(
        self, ids: ArrayLike, mask: ArrayLike | None, sequence_ids: ArrayLike | None, history: TorchHistory | None
    ) -> NgramWindow:
        """Return the tokens behind a history as they are hashed, for this layer and all that hash the same tokens."""
        return self.on_host.reader.window(ids, self._takes_part(mask), sequence_ids, _on_host(history))

    def device_rows(
        self,
        ids: Tensor,
        mask: Tensor | ArrayLike | None,
        sequence_ids: Tensor | None,
        state: EngramState | None,
    ) -> tuple[Tensor, TorchHistory | None]:
        """Return the same, computed by torch on the device of the ids."""
        if self._device() != ids.device:
            self.on_device = TorchHasher(self.on_host, ids.device)
        takes_part = (
            torch.as_tensor(mask, device=ids.device) if mask is not None and self.masked_tokens_are_dead else None
        )
        documents = None if sequence_ids is None else sequence_ids.to(ids.device)
        history = None if state is None else _on_device(state.history, ids.device)
        rows = self.on_device.rows(ids, self.layer_id, takes_part, documents, history)
        return rows, None if state is None else self.on_device.advance(history, ids, takes_part, documents)

    def _takes_part(self, mask: ArrayLike | None) -> ArrayLike | None:
        return mask if self.masked_tokens_are_dead else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:  # noqa: ARG002  torch's signature
        """Follow the module to a device by being made again: `to_empty` would leave numbers of no meaning behind."""
        self.on_device = TorchHasher(self.on_host, fn(torch.empty(0, device=self._device())).device)
        return self

    def _device(self) -> torch.device:
        return next(self.on_device.buffers()).device


def make_hasher(config: EngramConfig, token_map: ArrayLike) -> NgramHasher | StudyHasher:
    """Return the hash that the configuration asks for."""
    if config.hash_family == "engram":
        return NgramHasher(config.hash_spec, token_map)
    spec = StudySpec(
        table_size=config.table_sizes[0],
        layer_ids=config.layer_ids,
        min_ngram=config.min_n,
        max_ngram=config.max_n,
        heads=config.num_hash_heads,
    )
    return StudyHasher(spec, token_map)


def _check_vocabulary(config: EngramConfig, hasher: NgramHasher | StudyHasher, *, given: bool) -> None:
    """Refuse a token map of another tokenizer, or none where one is needed: the rows would be the wrong ones."""
    length, size = len(hasher.token_map), int(hasher.token_map.max()) + 1
    expected = config.compressed_vocab_size
    if length != config.vocab_size:
        raise ValueError(
            f"the token map must be as long as vocab_size, {config.vocab_size} ids, got {length}: pass the map of the "
            f"model's tokenizer, or a configuration with vocab_size={length}"
        )
    if expected is not None and size != expected:
        raise ValueError(
            f"the token map must reach compressed_vocab_size, {expected} compressed ids, got "
            f"{f'one that reaches {size}' if given else 'none'}: pass as token_map what "
            "engram_client.compression.compress_vocabulary makes of the model's tokenizer, or load_token_map reads; "
            "for experiments with another map, or without one, set compressed_vocab_size=None in the configuration"
        )


def as_numpy(values: Tensor | ArrayLike) -> ArrayLike:
    """Return a tensor's values on the host as NumPy sees them; anything else as it is."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def history_of(window: NgramWindow) -> TorchHistory:
    """Return the history for the tokens after those of a window."""
    history = window.history()
    documents = None if history.documents is None else torch.from_numpy(history.documents)
    return TorchHistory(torch.from_numpy(history.tokens), documents, history.made_by)


def _on_host(history: TorchHistory | None) -> NgramHistory | None:
    if history is None:
        return None
    documents = None if history.documents is None else history.documents.cpu().numpy()
    return NgramHistory(history.tokens.cpu().numpy(), documents, history.made_by)


def _on_device(history: TorchHistory | None, device: torch.device) -> TorchHistory | None:
    if history is None:
        return None
    documents = None if history.documents is None else history.documents.to(device)
    return history._replace(tokens=history.tokens.to(device), documents=documents)
