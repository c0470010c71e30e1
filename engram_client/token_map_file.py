"""A token map as a small file with a digest, so that a serving process needs no tokenizer library.

The file is one line of ASCII JSON, ended by a line feed, and then the compressed ids of tokens 0, 1, ... as
little-endian unsigned 32-bit integers up to the end of the file. The line, without spaces, its keys in this order:

    {"compressed_size":99092,"format":"engram-token-map-v1","token_map_sha256":"...","vocabulary_size":129280}

`compressed_size` is the largest compressed id + 1, and `token_map_sha256` the lower-case hex SHA-256 of the token map
as little-endian signed 64-bit integers: the digest that fingerprints hold.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engram_client.errors import EngramError
from engram_client.hashing.fingerprint import token_map_sha256
from engram_client.hashing.token_reader import checked_token_map

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FORMAT = "engram-token-map-v1"
MAX_LINE_BYTES = 1024
MAX_COMPRESSED_ID = 2**32 - 1


class TokenMapDamaged(EngramError, ValueError):
    """The file is not a token map, or not the one that was saved."""


def save_token_map(path: str | os.PathLike[str], token_map: ArrayLike) -> None:
    """Write a token map, integers (vocabulary,), to a file; what was there is replaced in one step.

    Raises:
        ValueError: it is not one row of compressed ids between 0 and 4294967295.
        TypeError: it does not hold integers.
        OSError: the file cannot be written.
    """
    compressed = checked_token_map(token_map)
    if compressed.max() > MAX_COMPRESSED_ID:
        raise ValueError(f"compressed ids must be at most {MAX_COMPRESSED_ID} to be saved, got {compressed.max()}")
    line = json.dumps(_described(compressed), separators=(",", ":")).encode("ascii")
    _replace(Path(path), line + b"\n" + compressed.astype("<u4").tobytes())


def load_token_map(path: str | os.PathLike[str]) -> NDArray[np.int64]:
    """Return the token map of a file, int64 (vocabulary,), read-only.

    Raises:
        TokenMapDamaged: the file is no token map, or its content is not what its first line says; the message names the
            file and the expected and the found value.
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        expected = _parsed_line(path, file.readline(MAX_LINE_BYTES))
        content = file.read()
    vocabulary = expected["vocabulary_size"]
    if not isinstance(vocabulary, int) or vocabulary < 1 or len(content) != 4 * vocabulary:
        raise TokenMapDamaged(
            f"{os.fspath(path)}: vocabulary_size is {vocabulary}, so 4 bytes for each token must follow "
            f"the first line, found {len(content)} bytes"
        )
    token_map = checked_token_map(np.frombuffer(content, dtype="<u4"))
    found = _described(token_map)
    for key in ("token_map_sha256", "compressed_size"):
        if expected[key] != found[key]:
            raise TokenMapDamaged(f"{os.fspath(path)}: {key} must be {expected[key]}, found {found[key]}")
    return token_map


def _described(token_map: NDArray[np.int64]) -> dict[str, object]:
    return {
        "compressed_size": int(token_map.max()) + 1,
        "format": FORMAT,
        "token_map_sha256": token_map_sha256(token_map),
        "vocabulary_size": len(token_map),
    }


def _parsed_line(path: str | os.PathLike[str], line: bytes) -> dict[str, object]:
    """Return what the first line says; every key is there."""
    try:
        described = json.loads(line)
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict) or not line.endswith(b"\n"):
        raise TokenMapDamaged(f"{os.fspath(path)}: no token map, its first line is {line[:60]!r}")
    if described.get("format") != FORMAT:
        raise TokenMapDamaged(f"{os.fspath(path)}: format must be {FORMAT}, found {described.get('format')!r:.60}")
    keys = {"compressed_size", "format", "token_map_sha256", "vocabulary_size"}
    if described.keys() != keys:
        raise TokenMapDamaged(f"{os.fspath(path)}: the keys must be {sorted(keys)}, found {sorted(described)!r:.200}")
    return described


def _replace(path: Path, content: bytes) -> None:
    """Put a file in its place in one step: a reader sees the old one or the new one, also after a crash."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
