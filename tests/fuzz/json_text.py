"""JSON documents made hostile: values, keys and text that nobody expects at their place."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any, Final

from fuzz.wire_bytes import hostile_bytes

_DIGITS: Final = "9" * 4300  # as many as Python reads in one number
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    0.5,
    1e308,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 64,
    float("nan"),
    float("inf"),
    "",
    "0",
    "\0",
    "\ud800",
    "a\0b",
    "/\0",
    "é" * 300,
    "x" * 2000,
    "\x1b[2J\r\n",
    "../../../../etc/passwd",
    "/etc/passwd",
    [],
    {},
    [[]],
    [[0, 1]],
    [[1, 0]],
    [[0, 1], [0, 1]],
    {"": 0},
    "DIGITS",
)
_CONTAINERS: Final = (dict, list)
_DEEP: Final = 100_000  # Python's parser gives up long before


def hostile_json(rng: random.Random, documents: Sequence[Any], hints: Sequence[Any] = ()) -> bytes:
    """Return the text of one of `documents` after a few mutations; `hints` are further values to put somewhere."""
    document = copy.deepcopy(rng.choice(documents))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        document = _mutated(rng, document, (*_VALUES, *hints))
    text = json.dumps(document, ensure_ascii=rng.random() < 0.7).replace('"DIGITS"', _DIGITS)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        data = hostile_bytes(rng, data)
    return _as_other_text(rng, data) if rng.random() < 0.03 else data


def _mutated(rng: random.Random, document: Any, values: Sequence[Any]) -> Any:
    places = _places(document)
    if not places:
        return copy.deepcopy(rng.choice(values))
    container, key = rng.choice(places)
    match rng.randrange(10):
        case 0:
            del container[key]
        case 1:
            _put_beside(rng, container, key)
        case 2:
            other, other_key = rng.choice(places)
            container[key] = copy.deepcopy(other[other_key])
        case 3 | 4 if type(container[key]) is int:
            container[key] += rng.choice((-1, 1, 1 << 31, -(1 << 63), container[key]))
        case 5 if isinstance(container[key], str):
            container[key] = hostile_bytes(rng, container[key].encode("utf-8", "surrogatepass")).decode("latin-1")
        case _:
            container[key] = copy.deepcopy(rng.choice(values))
    return document


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Where the values of a document are, as containers and keys."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, _CONTAINERS):
            keys = list(each) if isinstance(each, dict) else list(range(len(each)))
            found += [(each, key) for key in keys]
            waiting += [each[key] for key in keys]
    return found


def _put_beside(rng: random.Random, container: Any, key: Any) -> None:
    if isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[rng.choice((f"{key}x", "", "format", "\ud800", "__metadata__"))] = copy.deepcopy(container[key])


def _as_other_text(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(
        (
            b"\xef\xbb\xbf" + data,
            data + b" {}",
            b"[" * _DEEP,
            b'{"a":' * _DEEP,
            data.replace(b"{", b'{"format":0,', 1),  # most likely a key twice
            data.decode("utf-8", "replace").encode("utf-16"),
            b"",
        )
    )
