"""Hashing sequences piece by piece, as an engine does that decodes."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engram_client.hashing import RowHasher


def rows_in_pieces(
    hasher: RowHasher, ids: NDArray[np.int64], layer: int, cuts: list[int], **packing: NDArray[np.generic] | None
) -> NDArray[np.int64]:
    """Hash ids (batch, seq) cut at these places, each piece with the history of those before it."""
    history, pieces = None, []
    for start, stop in pairwise([0, *cuts, ids.shape[1]]):
        piece = {name: None if values is None else values[:, start:stop] for name, values in packing.items()}
        pieces.append(hasher.rows(ids[:, start:stop], layer, history=history, **piece))
        history = hasher.advance(history, ids[:, start:stop], **piece)
    return np.concatenate(pieces, axis=1)
