"""Arguments and options that several commands share, so that they read alike everywhere."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from store_server.storage.manifest import MAX_ROW_BYTES

MAX_FINGERPRINT_CHARACTERS = 1000
_ENGRAM_FAMILY = "engram-v1:"
_ENGRAM_FINGERPRINT = re.compile(rf"{re.escape(_ENGRAM_FAMILY)}[0-9a-f]{{64}}")  # engram_client.hashing.fingerprint


class BackendName(Enum):
    """How a version is held on disk."""

    mmap = "mmap"
    lmdb = "lmdb"


Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Data root, a directory.", show_default=False)]
TableName = Annotated[str, typer.Argument(metavar="NAME", help="Table, such as v41-flash/layer-1.", show_default=False)]
VersionOption = Annotated[
    str | None, typer.Option("--version", show_default=False, help="Version of the table; by default the current one.")
]
BackendOption = Annotated[BackendName, typer.Option("--backend", help="How the version is held.")]
ROW_FORMATS_HELP = (
    "float32, float16, bfloat16, float8_e4m3, float8_e4m3*0x1.8p-7 (with its scale), float8_e4m3+e8m0/32, "
    "int8+float16/32, or one of your own, which begins with x- and which clients do not decode."
)


def check_row_bytes(width: int | None) -> int | None:
    """Return a width of rows in bytes; raises typer.BadParameter for one that no table can have."""
    if width is not None and not 1 <= width <= MAX_ROW_BYTES:
        raise typer.BadParameter(f"must be 1 to {MAX_ROW_BYTES:,} (1 MiB), got {width:,}")
    return width


def check_fingerprint(text: str) -> str:
    """Return `text`; raises typer.BadParameter for what no manifest holds, and for a digest that was cut or mistyped.

    What another family or nobody's hashing is called is nobody's business here.
    """
    if len(text) > MAX_FINGERPRINT_CHARACTERS or not text.isprintable():
        raise typer.BadParameter(
            f"must be printable and at most {MAX_FINGERPRINT_CHARACTERS} characters, got {text!r:.100}"
        )
    # Every client would be refused by it, each with a message that speaks of another hash.
    if text.startswith(_ENGRAM_FAMILY) and not _ENGRAM_FINGERPRINT.fullmatch(text):
        raise typer.BadParameter(
            f"after {_ENGRAM_FAMILY} come 64 digits of 0-9 and a-f, as `NgramHasher.fingerprint` gives them, got "
            f"{text.removeprefix(_ENGRAM_FAMILY)!r:.100}"
        )
    return text


FingerprintOption = Annotated[
    str,
    typer.Option(
        "--fingerprint",
        callback=check_fingerprint,
        show_default=False,
        help="Digest of what turns token ids into row numbers of this table, as `NgramHasher.fingerprint` gives it; "
        "clients that hash otherwise are refused.",
    ),
]
