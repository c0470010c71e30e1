"""Settings as people read them, and as a file of settings has them."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT: Final = "default"


class ShownSetting(NamedTuple):
    """A setting: its key in a file, its value, and where that comes from."""

    key: str
    value: object
    origin: str


def as_table(settings: Sequence[ShownSetting]) -> Iterator[str]:
    """Yield a line a setting: its key, its value and its origin, in columns."""
    rows = [("setting", "value", "from"), *((each.key, _said(each.value), each.origin) for each in settings)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for key, value, origin in rows:
        yield f"{key:{widths[0]}}  {value:{widths[1]}}  {origin}"


def as_toml(settings: Sequence[ShownSetting]) -> Iterator[str]:
    """Yield the lines of a file of settings, in which comments say what nobody set."""
    # No value is masked, as none is a secret: passwords, tokens and keys are in files that settings name.
    for key, value, origin in settings:
        if origin != DEFAULT:
            yield f"{key} = {_toml(value)}  # {_in_one_line(origin)}"
        elif not _is_unset(value):
            yield f"# {key} = {_toml(value)}"
        else:
            yield f"# {key}: not set"


def _said(value: object) -> str:
    if _is_unset(value):
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_unset(value: object) -> bool:
    return value is None or value in ([], ())


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str | PurePath):  # a string of JSON is one of TOML, but for one character
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
