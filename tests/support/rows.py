"""Made-up rows."""

import numpy as np
from numpy.typing import NDArray


def random_rows(num_rows: int, row_bytes: int, seed: int = 0) -> NDArray[np.uint8]:
    """Rows that differ from one another, unless they are a byte or two wide."""
    size = num_rows * row_bytes
    words = np.random.default_rng(seed).integers(0, 2**64 - 1, -(-size // 8), dtype=np.uint64, endpoint=True)
    return words.view(np.uint8)[:size].reshape(num_rows, row_bytes)  # byte for byte it takes eight times as long
