"""`engram-store inspect`: what a table is, and what given rows hold."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from store_server.commands.arguments import Root, TableName, VersionOption
from store_server.commands.failure import CommandFailed
from store_server.storage import DataRoot, StorageError, TableDamaged, VersionQuarantined
from store_server.storage.changed_blocks import CHANGED
from store_server.storage.files.data_file import DATA_FILE_KINDS
from store_server.storage.files.version_files import open_files
from store_server.storage.held_blocks import held_blocks, held_bytes, ranges_of
from store_server.storage.pages.residency import residency_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from store_server.storage import Manifest
    from store_server.storage.stored_version import StoredVersion

MAX_ROWS_PRINTED = 10_000
_BYTES_A_LINE = 16
_MOST_RANGES_PRINTED = 10
_ROWS = re.compile(r"(?P<first>[0-9]{1,19})(-(?P<last>[0-9]{1,19}))?")


EXAMPLES = (
    "engram-store inspect ./data demo/layer-1",
    "engram-store inspect ./data demo/layer-1 --rows 0,5,10-12 --decode",
)


def inspect(
    root: Root,
    name: TableName,
    version: VersionOption = None,
    rows: Annotated[str | None, typer.Option("--rows", help="Rows to print, such as 0,5,10-12.")] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Print the values of --rows instead of their bytes.")
    ] = False,
) -> None:
    """Say what a table is; with --rows print rows as hexadecimal bytes, or decoded by their row format.

    The first line says whether the table is damaged, as far as its manifest and the sizes of its files tell; `verify`
    reads the rows as well. Of a damaged one what can be known is printed, and then what is wrong with it.
    """
    if decode and rows is None:
        raise typer.BadParameter("--decode needs --rows")
    data_root = DataRoot.open(root)
    if version is None:
        version = data_root.current_version(name)
    else:
        data_root.version_path(name, version)  # raises VersionNotFound
    if rows is None:
        _print_description(data_root, name, version)
        return
    manifest = data_root.manifest(name, version)
    numbers = parse_rows(rows, manifest.num_rows)
    content = np.empty((len(numbers), manifest.row_bytes), np.uint8)
    backend = data_root.open_backend(name, version)
    backend.gather(numbers, content)
    backend.close()
    lines = _decoded_lines(content, manifest.row_format) if decode else [_hex_lines(row) for row in content]
    for number, text in zip(numbers, lines, strict=True):
        typer.echo(f"row {number}\n{text}")


def parse_rows(text: str, num_rows: int) -> NDArray[np.int64]:
    """Return the row numbers of a list such as "0,5,10-12", (n,) int64; raises typer.BadParameter."""
    numbers: list[int] = []
    for part in text.split(","):
        found = _ROWS.fullmatch(part.strip())
        if found is None:
            wanted = "range such as 10-12" if "-" in part else "number"
            raise typer.BadParameter(f"--rows: {part.strip()!r:.100} is not a {wanted}")
        begin, end = int(found["first"]), int(found["last"] or found["first"])
        if begin > end:
            raise typer.BadParameter(f"--rows: {begin}-{end} runs backwards; write {end}-{begin}")
        if end >= num_rows:
            raise typer.BadParameter(f"--rows: the table has rows 0 to {num_rows - 1:,}, got {part.strip()}")
        if len(numbers) + end - begin >= MAX_ROWS_PRINTED:
            raise typer.BadParameter(
                f"--rows: at most {MAX_ROWS_PRINTED:,} rows are printed at once, got more: {text!r:.100}"
            )
        numbers.extend(range(begin, end + 1))
    return np.array(numbers, np.int64)


def _print_description(root: DataRoot, name: str, version: str) -> None:
    """Print whether a version is intact and what it is; raises StorageError after that where it is damaged."""
    known: list[tuple[str, str]] = []
    state, damage = "ok", None
    try:
        known.extend(_description(root, name, version))  # what came before an error stays
    except StorageError as error:
        state, damage = _damage(error), error
    for key, value in [("state", state), *known]:
        typer.echo(f"{key:<12} {value}")
    if damage is not None:
        raise damage


def _damage(error: StorageError) -> str:
    if isinstance(error, VersionQuarantined):
        return error.detail
    return f"damaged: {error.detail if isinstance(error, TableDamaged) else error}"


def _description(root: DataRoot, name: str, version: str) -> Iterator[tuple[str, str]]:
    """Yield what a version is, the surest first; raises StorageError where it is damaged."""
    current = root.current_version(name)
    yield "table", name
    yield "version", f"{version} ({'current' if version == current else 'not current'})"
    yield "versions", ", ".join(root.versions(name)) or "-"
    manifest = root.manifest(name, version)
    yield "rows", f"{manifest.num_rows:,}"
    yield "row bytes", f"{manifest.row_bytes:,}"
    yield "bytes", f"{manifest.num_bytes:,}"
    yield "row format", manifest.row_format or "-"
    yield "fingerprint", manifest.fingerprint or "-"
    yield "backend", manifest.backend
    yield "blocks", f"{manifest.num_blocks:,} of {manifest.block_rows:,} rows, {_digests(manifest)}"
    yield from _files(root, name, manifest)
    stored = root.stored_version(name, version)
    yield "held", _held(stored)
    yield "resident", _residency(stored)


def _digests(manifest: Manifest) -> str:
    return manifest.digest if manifest.block_digests else "no digests before the first `verify`"


def _held(stored: StoredVersion) -> str:
    is_held, manifest = held_blocks(stored), stored.manifest
    if is_held.all():
        return "all blocks"
    ranges = ", ".join(f"{first:,}-{end - 1:,}" for first, end in ranges_of(is_held)[:_MOST_RANGES_PRINTED])
    more = ", ..." if len(ranges_of(is_held)) > _MOST_RANGES_PRINTED else ""
    size = f"{held_bytes(manifest, is_held):,} of {manifest.num_bytes:,} bytes"
    return f"{is_held.sum():,} of {manifest.num_blocks:,} blocks, {size}: {ranges or 'none'}{more}"


def _files(root: DataRoot, name: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield where the rows lie: in a file of the version's own, or in tensors of a checkpoint."""
    if not manifest.is_attached:
        file_name = DATA_FILE_KINDS[manifest.backend].file_name
        path = root.version_path(name, manifest.version) / file_name
        yield "data file", f"{path} ({_size(path, manifest.data_bytes)})"
        if manifest.changed is not None:
            num_changed = int(manifest.changed.are_changed(manifest.num_blocks).sum())
            path = path.with_name(CHANGED)
            yield "patched", f"{num_changed:,} blocks, in {path} ({_size(path, manifest.changed.file_bytes)})"
    for number, segment in enumerate(manifest.segments):
        place = f"from byte {segment.offset:,} of {segment.path} ({segment.file_bytes:,} bytes)"
        yield f"segment {number}", f"{segment.tensor}, {segment.row_bytes:,} bytes a row {place}"


def _size(path: Path, expected: int) -> str:
    try:
        found = path.stat().st_size
    except OSError:
        return f"expected {expected:,} bytes, found none"
    return f"{found:,} bytes" if found == expected else f"expected {expected:,} bytes, found {found:,}"


def _residency(stored: StoredVersion) -> str:
    with contextlib.closing(open_files(stored)) as files:
        found = residency_of(files.map().maps) if files.may_ask_for_residency() else None
    if found is None:
        return "not known: the kernel tells only the owner of the files"
    share = found.resident_bytes / found.mapped_bytes
    return f"{found.resident_bytes:,} of {found.mapped_bytes:,} bytes ({share:.1%}) in the page cache of this host"


def _decoded_lines(content: NDArray[np.uint8], row_format: str) -> list[str]:
    from engram_client import formats

    if not row_format:
        raise CommandFailed("the table has no row format to decode by; leave out --decode to see the bytes")
    try:
        values = formats.decode(content, row_format)  # (rows, width)
    except ValueError as error:
        raise CommandFailed(f"cannot decode: {error}") from error
    return ["  " + " ".join(f"{value:.6g}" for value in row) for row in values]


def _hex_lines(row: NDArray[np.uint8]) -> str:
    return "\n".join(
        _hex_line(offset, row[offset : offset + _BYTES_A_LINE]) for offset in range(0, len(row), _BYTES_A_LINE)
    )


def _hex_line(offset: int, part: NDArray[np.uint8]) -> str:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
    return f"  {offset:08x}  {part.tobytes().hex(' '):<47}  |{text}|"
