"""Rows of polynomial n-gram hashes, which the longcat and study families share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_client.hashing.history import NgramWindow


class OrderHash(NamedTuple):
    """One n-gram order: row = offset + ((sum over k of token k back * weights[k]) mod modulus) mod size."""

    weights: NDArray[np.int64]
    """(n, heads), for the token k positions back."""
    moduli: NDArray[np.int64]
    """(heads,)"""
    sizes: NDArray[np.int64]
    """(heads,), the rows of each head's part of the table."""
    offsets: NDArray[np.int64]
    """(heads,), where each head's part starts."""


def polynomial_rows(window: NgramWindow, orders: tuple[OrderHash, ...]) -> NDArray[np.int64]:
    """Return the rows (batch, seq, columns): all heads of the lowest order, then of the next."""
    columns = []
    for order in orders:
        total = window.look_back(0)[..., None] * order.weights[0]  # (batch, seq, heads)
        for k in range(1, len(order.weights)):
            total += window.look_back(k)[..., None] * order.weights[k]
        columns.append(total % order.moduli % order.sizes + order.offsets)
    return np.concatenate(columns, axis=-1)


def check_sums(orders: tuple[OrderHash, ...], largest_id: int) -> None:
    """Refuse parameters whose sums leave int64: published code would wrap or not, depending on where it runs."""
    for order in orders:
        largest = max(sum(column) for column in order.weights.T.tolist()) * largest_id
        if largest >= 2**63:
            raise ValueError(f"a sum over {len(order.weights)} tokens must stay below {2**63}, it can reach {largest}")
