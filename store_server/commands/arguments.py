"""Arguments and options that several commands share, so that they read alike everywhere."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class BackendName(Enum):
    """How a version is held on disk."""

    mmap = "mmap"
    lmdb = "lmdb"


Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Data root, a directory.", show_default=False)]
TableName = Annotated[str, typer.Argument(metavar="NAME", help="Table, such as v41-flash/layer-1.", show_default=False)]
VersionOption = Annotated[str | None, typer.Option("--version", help="Version; by default the current one.")]
BackendOption = Annotated[BackendName, typer.Option("--backend", help="How the version is held.")]
RowFormatOption = Annotated[str, typer.Option("--row-format", help="What the bytes mean, such as bfloat16.")]
FingerprintOption = Annotated[
    str, typer.Option("--fingerprint", help="Digest of what turns token ids into row numbers of this table.")
]
