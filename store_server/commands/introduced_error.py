"""How far the rows that are stored are from those that were given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class IntroducedError:
    """Maximum, root mean square and cosine over all rows, added up piece by piece in float64."""

    def __init__(self) -> None:
        self.largest = 0.0
        """The largest absolute error of a value."""
        self._sum_of_squares, self._num_values = 0.0, 0
        self._sum_of_cosines, self._num_rows = 0.0, 0

    def add(self, given: NDArray[np.floating], stored: NDArray[np.floating]) -> None:
        """Take in finite rows (n, width) and what they decode to now, finite too."""
        exact, found = given.astype(np.float64), stored.astype(np.float64)
        errors = found - exact
        self.largest = max(self.largest, float(errors.max(initial=0.0)), -float(errors.min(initial=0.0)))
        self._sum_of_squares += float(_products(errors, errors).sum())
        self._num_values += errors.size
        self._sum_of_cosines += float(_cosines(exact, found).sum())
        self._num_rows += len(exact)

    @property
    def root_mean_square(self) -> float:
        """Over all values."""
        return math.sqrt(self._sum_of_squares / self._num_values) if self._num_values else 0.0

    @property
    def mean_cosine(self) -> float:
        """Over all rows; 1 if there are none."""
        return self._sum_of_cosines / self._num_rows if self._num_rows else 1.0


def _cosines(exact: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows, (n,): 1 if both are zero, 0 if one of them is."""
    exact_lengths, found_lengths = np.sqrt(_products(exact, exact)), np.sqrt(_products(found, found))
    lengths = exact_lengths * found_lengths
    cosines = _products(exact, found) / np.where(lengths == 0, 1.0, lengths)
    cosines[(exact_lengths == 0) & (found_lengths == 0)] = 1
    return cosines


def _products(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scalar product of each pair of rows, (n,)."""
    products: NDArray[np.float64] = np.einsum("rc,rc->r", left, right)
    return products
