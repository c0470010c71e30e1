"""The version of the package, which pyproject.toml says: the files of deploy/ must name the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"
_PACKAGE: Final = re.compile(r'^version = "([^"]+)"', re.MULTILINE)
_NAMED: Final = re.compile(r'\bengram-store:(\d[\w.]*\w)|^(?:appVersion|version): "?([^"\n]+)', re.MULTILINE)
_FOLDERS: Final = ("chart", "compose")


def problems(deploy: Path) -> Iterator[str]:
    """Say where another version is named, of the image, of the chart or of what the chart runs."""
    [version] = _PACKAGE.findall(_PYPROJECT.read_text())
    for file in sorted(each for folder in _FOLDERS for each in (deploy / folder).glob("*") if each.is_file()):
        for found in _NAMED.finditer(file.read_text()):
            if (found[1] or found[2]) != version:
                yield f"{file.name}: the package's version is {version}, got {found[0]}"
