"""Digests of blocks: enough to find flipped bits, quick enough to check while loading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_server.storage.errors import PackageMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIGEST_ALGORITHM = "xxh3_128"


def block_digest(block: NDArray[np.uint8]) -> str:
    """Return the digest of a C-contiguous block as 32 hexadecimal characters; raises PackageMissing."""
    try:
        import xxhash
    except ImportError as error:  # the plain client reads mapped tables without it
        raise PackageMissing("xxhash", "checking digests") from error
    return str(xxhash.xxh3_128_hexdigest(block.data.cast("B")))
