"""The text that the demo reads."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple

from store_server.commands.failure import CommandFailed

if TYPE_CHECKING:
    from pathlib import Path

# Far more than a token has on average: of a huge file only the part is read that can be needed.
_BYTES_A_TOKEN = 64


class Passage(NamedTuple):
    """A text and how much of it is wanted."""

    name: str
    text: str
    is_whole: bool
    max_tokens: int


def read_text(path: Path | None, *, max_tokens: int) -> Passage:
    """Return the beginning of a text file, or of the text that is on every machine with Python.

    Raises CommandFailed when the file cannot be read, is empty, or is not UTF-8.
    """
    if path is None:
        return Passage("Python's own manual (pydoc_data.topics)", _manual(), True, max_tokens)
    limit = max_tokens * _BYTES_A_TOKEN
    try:
        with path.open("rb") as file:
            content = file.read(limit)
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from error
    is_whole = len(content) < limit
    return Passage(str(path), _decoded(path, content, is_whole=is_whole), is_whole, max_tokens)


def _decoded(path: Path, content: bytes, *, is_whole: bool) -> str:
    if not content:
        raise CommandFailed(f"{path} is empty: a text is needed")
    try:
        # Where a longer file was cut, the last character may be in pieces: the decoder then waits for the rest.
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=is_whole)
    except UnicodeDecodeError as error:
        raise CommandFailed(
            f"{path} is not a text in UTF-8: byte {content[error.start]:#04x} at offset {error.start:,}"
        ) from error


def _manual() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CommandFailed("this Python comes without its manual (pydoc_data): name a text file") from error
    return "\n\n".join(topics[name] for name in sorted(topics))
