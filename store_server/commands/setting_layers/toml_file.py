"""Settings from a TOML file: `listen = "0.0.0.0:50051"` is --listen."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Final

from typer.core import TyperOption

from store_server.commands.setting_layers.layer import Layer
from store_server.commands.setting_layers.names import key_of, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import typer

    from store_server.commands.setting_layers.names import Setting

_MOST_BITS: Final = 64


def from_file(context: typer.Context, settings: Sequence[Setting], path: Path) -> Layer:
    """Return what a file sets. Its keys are the options, with dashes or underscores; paths are as on a command line."""
    layer = Layer()
    known = {key_of(setting): setting for setting in settings}
    seen: set[str] = set()
    for written, value in _contents(path, layer).items():
        key = written.replace("_", "-")
        setting = known.get(key)
        said = f"{path}: {written:.100} = {_quoted(value)}"
        if setting is None:  # without the value, which may be the secret of somebody who mistook this file for another
            layer.problems.append(f"{path}: there is no setting {written!r:.100}{nearest(key, known)}")
        elif key in seen:
            layer.problems.append(f"{path}: {key} is set twice, once with dashes and once with underscores")
        elif wrong := _wrong_type(setting, value):
            layer.problems.append(f"{said}: {wrong}")
        else:
            layer.take(context, setting, _as_given(value), origin=str(path), said=said)
        seen.add(key)
    return layer


def _contents(path: Path, layer: Layer) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        layer.problems.append(f"{path}: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        layer.problems.append(f"{path}: not UTF-8 (at line {line})")
    except ValueError as error:  # what is no TOML, with its line and column; or a number that has too many digits
        layer.problems.append(f"{path}: {error}")
    except RecursionError:
        layer.problems.append(f"{path}: lists or tables that lie too deep in each other")
    return {}


def _wrong_type(setting: Setting, value: object) -> str:
    """Say what a value must be; "" if it is that. What stands in quotes is read as on a command line."""
    if isinstance(setting, TyperOption) and setting.is_flag:
        return "" if isinstance(value, bool) else "must be true or false"
    if not setting.multiple:
        return "" if _is_scalar(value) else "must be a text in quotes or a number of at most 64 bits"
    if isinstance(value, list) and all(map(_is_scalar, value)):
        return ""
    return 'must be a list, such as ["one", "two"]'


def _is_scalar(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() <= _MOST_BITS  # longer ones may have no decimal text
    return isinstance(value, str | float)


def _quoted(value: object) -> str:
    try:
        return f"{json.dumps(value, default=str, ensure_ascii=False):.200}"
    except (ValueError, RecursionError):
        return "a value too large to be shown"


def _as_given(value: object) -> object:
    """Return a value as a command line has it: as text."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return value if isinstance(value, bool) else str(value)
