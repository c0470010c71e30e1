"""`engram-store diff`: which rows of a table differ between two of its versions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer

from store_server.commands.arguments import Root, TableName
from store_server.commands.progress import progress_bar
from store_server.storage import DataRoot
from store_server.storage.version_diff import compared_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store_server.storage.stored_version import StoredVersion

EXAMPLES = (
    "engram-store diff ./data demo/layer-1 0123456789abcdef0123456789abcdef",
    "engram-store diff ./data demo/layer-1 OLD NEW --ids changed.npy",
)
_MOST_RANGES: Final = 10


def diff(
    root: Root,
    name: TableName,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Version to compare with.", show_default=False)],
    new: Annotated[
        str | None, typer.Argument(metavar="[NEW]", help="The other one; by default the current.", show_default=False)
    ] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids", show_default=False, help="Write the numbers of changed rows to this .npy.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say how many rows changed from one version of a table to another, and which.

    Blocks with the same digest in both are not read. Rows that only one of them has are counted as added or gone.
    """
    if ids_file is not None and not ids_file.parent.is_dir():  # before all is compared
        raise typer.BadParameter(f"{ids_file} is to be in {ids_file.parent}, which is no directory", param_hint="--ids")
    data_root = DataRoot.open(root)
    one = data_root.stored_version(name, old)
    other = data_root.stored_version(name, new or data_root.current_version(name))
    found = _difference(one, other, keep_ids=ids_file is not None)
    if ids_file is not None:
        with ids_file.open("wb") as file:
            np.save(file, np.concatenate([np.empty(0, np.int64), *found.ids]))
    described = _description(one, other, found)
    if as_json:
        typer.echo(json.dumps(described))
        return
    for key, value in _lines(described, found):
        typer.echo(f"{key:<8} {value}")


@dataclass(slots=True)
class _Difference:
    rows_changed: int = 0
    rows_read: int = 0
    ranges: list[list[int]] = field(default_factory=list)
    """Half-open; the first of them, and one more if there are more."""
    ids: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, changed: NDArray[np.int64]) -> None:
        self.rows_changed += len(changed)
        if not len(changed) or len(self.ranges) > _MOST_RANGES:
            return
        for some in np.split(changed, np.flatnonzero(np.diff(changed) != 1) + 1)[: _MOST_RANGES + 1]:
            first, end = int(some[0]), int(some[-1]) + 1
            if self.ranges and self.ranges[-1][1] == first:
                self.ranges[-1][1] = end
            else:
                self.ranges.append([first, end])


def _difference(old: StoredVersion, new: StoredVersion, *, keep_ids: bool) -> _Difference:
    found = _Difference()
    with progress_bar(f"comparing {old.table}", min(old.manifest.num_bytes, new.manifest.num_bytes)) as advance:
        for rows in compared_rows(old, new):
            found.add(rows.changed)
            if rows.were_read:
                found.rows_read += rows.end - rows.first
            if keep_ids:
                found.ids.append(rows.changed)
            advance((rows.end - rows.first) * old.manifest.row_bytes)
    return found


def _description(old: StoredVersion, new: StoredVersion, found: _Difference) -> dict[str, object]:
    num_old, num_new = old.manifest.num_rows, new.manifest.num_rows
    return {
        "table": old.table,
        "old": old.version,
        "new": new.version,
        "rows_compared": min(num_old, num_new),
        "rows_changed": found.rows_changed,
        "share": found.rows_changed / min(num_old, num_new),
        "rows_added": max(0, num_new - num_old),
        "rows_gone": max(0, num_old - num_new),
        "bytes_changed": found.rows_changed * old.manifest.row_bytes,
        "bytes_read": 2 * found.rows_read * old.manifest.row_bytes,
        "same_fingerprint": old.manifest.fingerprint == new.manifest.fingerprint,
        "first_ranges": found.ranges[:_MOST_RANGES],
    }


def _lines(described: dict[str, object], found: _Difference) -> list[tuple[str, str]]:
    more = ", ..." if len(found.ranges) > _MOST_RANGES else ""
    ranges = ", ".join(
        f"{first:,}-{end - 1:,}" if end - first > 1 else f"{first:,}" for first, end in found.ranges[:_MOST_RANGES]
    )
    lines = [
        ("table", f"{described['table']}"),
        ("old", f"{described['old']}"),
        ("new", f"{described['new']}"),
        ("changed", f"{described['rows_changed']:,} of {described['rows_compared']:,} rows"),
        ("share", f"{described['share']:.3g}"),
        ("bytes", f"{described['bytes_changed']:,} changed, {described['bytes_read']:,} read"),
        ("rows", (ranges or "none") + more),
    ]
    ends = [(what, described[f"rows_{what}"]) for what in ("added", "gone")]
    lines.extend((what, f"{num_rows:,} rows at the end") for what, num_rows in ends if num_rows)
    if not described["same_fingerprint"]:
        lines.append(("note", "the fingerprints differ: token ids lead to other rows"))
    return lines
