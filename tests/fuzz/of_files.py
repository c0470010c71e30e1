"""Files that tables come from: .safetensors, .npy and token maps, read beside the libraries that own the formats."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from fuzz.json_text import hostile_json
from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.wire_bytes import hostile_bytes
from safetensors import SafetensorError
from support.rows import random_rows

from engram_client.token_map_file import TokenMapDamaged, load_token_map, save_token_map
from store_server.storage import InvalidSource
from store_server.storage.sources import open_source

_LENGTH_BYTES: Final = 8
_MOST_ARRAY_BYTES: Final = 1 << 16


@contextlib.contextmanager
def safetensors_target(directory: Path) -> Iterator[TryOne]:
    """Read tensors; the library reads the same bytes wherever both accept a file."""
    tensors = {"a": random_rows(5, 7), "b": np.arange(12, dtype=np.float32).reshape(3, 4), "c": np.zeros(3, np.int8)}
    data = safetensors.numpy.save(tensors, metadata={"made": "up"})
    header, payload = header_and_payload(data)
    path = directory / "hostile.safetensors"

    def try_one(rng: random.Random) -> str:
        content = hostile_safetensors(rng, header, payload)
        path.write_bytes(content)
        try:
            found = open_source(path, tensor=rng.choice((None, "a", "b", "c", "\0")))
            rows = np.concatenate([piece.copy() for piece in found.pieces()])
        except InvalidSource as error:
            str(error)
            return REFUSED
        if rows.shape != (found.num_rows, found.row_bytes):
            raise Wrong(f"{content!r}: rows of shape {rows.shape}, promised were {found}")
        with contextlib.suppress(SafetensorError, KeyError, TypeError, ValueError):  # of types that NumPy has not
            known = {np.ascontiguousarray(each).tobytes() for each in safetensors.numpy.load(content).values()}
            if rows.tobytes() not in known:
                raise Wrong(f"{content!r}: rows that no tensor has for the library")
        return ACCEPTED

    yield try_one


def header_and_payload(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a .safetensors file apart."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    return json.loads(data[_LENGTH_BYTES:end]), data[end:]


def hostile_safetensors(rng: random.Random, header: dict[str, Any], payload: bytes) -> bytes:
    """Put a file together again, with a header, a length and tensors that may not fit each other."""
    text = hostile_json(rng, (header,), hints=([0, len(payload)], [1 << 40] * 9, "F8_E4M3", "F4"))
    length = (
        len(text) if rng.random() < 0.9 else rng.choice((0, 1, len(text) - 1, len(text) + 1, 1 << 31, (1 << 64) - 1))
    )
    data = max(length, 0).to_bytes(_LENGTH_BYTES, "little") + text + payload
    return hostile_bytes(rng, data) if rng.random() < 0.2 else data


@contextlib.contextmanager
def npy_target(directory: Path) -> Iterator[TryOne]:
    """Read arrays; NumPy reads the same bytes wherever both accept a file."""
    seeds = [_npy(np.arange(12).astype(dtype).reshape(3, 4)) for dtype in ("<f4", "<u8", "i1", "<i4", ">i2", "V2")]
    seeds += [_npy(np.asfortranarray(random_rows(3, 4))), _npy(np.zeros((2, 0)))]
    path = directory / "hostile.npy"

    def try_one(rng: random.Random) -> str:
        content = _hostile_npy(rng, rng.choice(seeds))
        path.write_bytes(content)
        try:
            found = open_source(path)
            rows = np.concatenate([piece.copy() for piece in found.pieces()])
        except InvalidSource as error:
            str(error)
            return REFUSED
        if rows.tobytes() != np.load(io.BytesIO(content)).tobytes():
            raise Wrong(f"{content!r}: other bytes than for NumPy")
        return ACCEPTED

    yield try_one


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _hostile_npy(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice((0, 1, 1, 2))):
        if rng.random() < 0.5:
            old, new = rng.choice(_OF_HEADERS)
            data = data.replace(old, new, 1)
        else:
            at = rng.randrange(10, 128) if rng.random() < 0.5 else 0  # the text of the header, or anywhere
            data = data[:at] + hostile_bytes(rng, data[at:])
    return data


_OF_HEADERS: Final = (
    (b"(3, 4)", b"(4, 3)"),
    (b"(3, 4)", b"(-1,4)"),
    (b"(3, 4)", b"(1<<9)"),
    (b"(3, 4)", b"(12,) "),
    (b"(3, 4)", b"[3, 4]"),
    (b"(3, 4)", b"(3,4.)"),
    (b"(3, 4)", b"(True, 12)"),
    (b"(3, 4)", b"(" + b"9" * 40 + b", 4)"),
    (b"False", b"None "),
    (b"False", b"True "),
    (b"'<f4'", b"'|O' "),
    (b"'<u8'", b"'<M8'"),
    (b"'<u8'", b"'|S8'"),
    (b"'<u8'", b"'2i4'"),
    (b"'|i1'", b"('i1',(2,))"),
    (b"{", b"((((((((("),
    (b"\x01\x00", b"\x02\x00"),
    (b"\x01\x00", b"\x03\x00"),
    (b"shape", b"\0hape"),
)


@contextlib.contextmanager
def token_map_target(directory: Path) -> Iterator[TryOne]:
    """Read token maps: what has the right digest is what was saved."""
    path = directory / "hostile.map"
    saved = np.arange(50) // 2
    save_token_map(path, saved)
    line, _, content = path.read_bytes().partition(b"\n")

    def try_one(rng: random.Random) -> str:
        data = hostile_json(rng, (json.loads(line),)) + b"\n" + content
        path.write_bytes(hostile_bytes(rng, data) if rng.random() < 0.5 else data)
        try:
            found = load_token_map(path)
        except TokenMapDamaged as error:
            str(error)
            return REFUSED
        if not np.array_equal(found, saved):
            raise Wrong(f"another map than was saved: {found}")
        return ACCEPTED

    yield try_one
