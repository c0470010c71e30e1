"""TOML documents made hostile, line by line: other values, keys and tables than anybody expects at their place."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from fuzz.wire_bytes import hostile_bytes

_DEEP: Final = 3_000  # Python's parser gives up before
_DEEP_KEY: Final = 1_100  # which it reads, in a time that rises with the square; who writes it as JSON gives up
_VALUES: Final = (
    '""',
    '"x"',
    "0",
    "-1",
    "1",
    "64",
    "9" * 5_000,  # more than Python reads in one number
    "0x" + "f" * 5_000,
    "9223372036854775808",
    "0.5",
    "1e999",
    "nan",
    "-inf",
    "true",
    "[]",
    "[[]]",
    "{}",
    "{a = 1}",
    '[1, "a"]',
    '["*", "*", "m/*"]',
    "1979-05-27",
    "07:32:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2027-13-40T25:61:00Z",
    "1979-05-27T07:32:00",
    "[" * _DEEP,
    "{a=" * _DEEP,
    '"\\ud800"',
    '"\\u0000"',
    '"\\u001b[2J"',
    '"' + "é" * 600 + '"',
    '"""\nlines\n"""',
    "'it''s'",
    '"../../../../etc/passwd"',
    '"/etc/passwd"',
    '"[" ',
    '"[!a-"',
    '"' + "*a" * 200 + '"',  # a pattern that a search would try in ever so many ways
    '"engram_000000000000_' + "a" * 52 + '"',
)
_KEYS: Final = ("x", '""', '"\\u0000"', "a.b", ".".join("a" * _DEEP_KEY), "'quoted key'", "__proto__", "é")
_WHOLE: Final = (b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\r", b"= 1", b"[", b"[[token]]\n" * 300, b"#" * 5_000)


def hostile_toml(rng: random.Random, documents: Sequence[str], hints: Sequence[str] = ()) -> bytes:
    """Return one of `documents` after a few mutations; `hints` are further values, as they are written."""
    lines = rng.choice(documents).splitlines()
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        _mutate(rng, lines, (*_VALUES, *hints))
    data = "\n".join(lines).encode()
    if rng.random() < 0.15:
        data = hostile_bytes(rng, data)
    return data + rng.choice(_WHOLE) if rng.random() < 0.03 else data


def _mutate(rng: random.Random, lines: list[str], values: Sequence[str]) -> None:
    at = rng.randrange(len(lines) + 1)
    if at == len(lines):
        lines.append(f"{rng.choice(_KEYS)} = {rng.choice(values)}")
        return
    key, is_setting, _ = lines[at].partition(" = ")
    match rng.randrange(8):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 3 if is_setting:
            lines[at] = f"{rng.choice(_KEYS)} = {rng.choice(values)}"
        case 4 if is_setting:
            lines[at] = f"{key}.{rng.choice(_KEYS)} = {rng.choice(values)}"
        case 5:
            lines[at] = lines[at].replace("[[", "[").replace("]]", "]")
        case _:
            lines[at] = f"{key} = {rng.choice(values)}"
