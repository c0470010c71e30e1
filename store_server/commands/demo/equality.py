"""The demo's proof: with the tables in process, and by plain NumPy, the same numbers come out, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from store_server.commands.failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from engram_model.transformer import DecoderOutput
    from store_server.commands.demo.timed_table import TimedFetch


def require_equal_outputs(from_store: DecoderOutput, in_process: DecoderOutput) -> None:
    """Raise CommandFailed unless hidden states and gates are equal, bit for bit."""
    _require_equal("the hidden states", from_store.hidden_states, in_process.hidden_states)
    for layer, gating in in_process.gating.items():
        _require_equal(f"the gates of layer {layer}", from_store.gating[layer], gating)


def require_equal_rows(fetches: Mapping[int, TimedFetch], written: Mapping[int, NDArray[np.uint8]]) -> None:
    """Raise CommandFailed unless every row fetched for a layer is that row of its table (num_rows, row_bytes)."""
    for layer, fetch in fetches.items():
        wrong = (fetch.result() != written[layer][fetch.ids]).any(axis=-1)
        if wrong.any():
            raise CommandFailed(
                f"NOT EQUAL: {np.count_nonzero(wrong):,} of {wrong.size:,} rows fetched for layer {layer} are not the "
                f"rows that were written; the first is row {fetch.ids[wrong][0]:,}"
            )


def _require_equal(what: str, from_store: Tensor, in_process: Tensor) -> None:
    import torch

    # As integers: -0.0 and 0.0 are equal numbers, but not equal bits.
    if not torch.equal(from_store.view(torch.int32), in_process.view(torch.int32)):
        apart = (from_store - in_process).abs().max().item()
        raise CommandFailed(
            f"NOT EQUAL: {what} with rows from the node and with tables in process are up to {apart:g} apart"
        )
