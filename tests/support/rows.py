"""Made-up rows."""

import numpy as np
from numpy.typing import NDArray


def random_rows(num_rows: int, row_bytes: int, seed: int = 0) -> NDArray[np.uint8]:
    """Rows that differ from one another, unless they are a byte or two wide."""
    return np.random.default_rng(seed).integers(0, 256, (num_rows, row_bytes), dtype=np.uint8)
