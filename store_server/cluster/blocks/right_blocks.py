"""Asks sources one after the other until one gives what has the right digest.

The name of a version is the digest of its manifest, which has the digest of each block: so what an accident changed is
found, whoever gives it. Somebody who forges blocks with intent could give them the right digests: sources are trusted
not to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog

from store_server.cluster.blocks.block_source import SourceFailed
from store_server.storage import InvalidTableSpec, Manifest
from store_server.storage.digests import block_digest
from store_server.storage.held_blocks import ranges_of

if TYPE_CHECKING:
    from store_server.cluster.blocks.block_source import BlockSource

log = structlog.get_logger()


class CannotCopy(Exception):
    """No source gives what is wanted; the message says of each source why. What came before is held."""


def right_manifest(sources: Sequence[BlockSource], table: str, version: str) -> Manifest:
    """Return what a version is, from the first source that tells. Raises CannotCopy."""
    reasons = []
    for source in sources:
        try:
            return _checked_manifest(source, table, version)
        except SourceFailed as failed:
            log.warning("source failed", source=source.url, table=table, version=version, error=failed.reason)
            reasons.append(str(failed))
    raise CannotCopy(_none_gives("the manifest", table, version, reasons))


class RightBlocks:
    """Blocks of one version from several sources.

    A source that failed is not asked again, and one that gave a wrong block is asked after the others.
    """

    def __init__(self, sources: Sequence[BlockSource], table: str, manifest: Manifest) -> None:
        self._table, self._manifest = table, manifest
        self._working = list(sources)
        self._failed: list[str] = []

    def fetch(self, first: int, end: int) -> dict[int, bytes]:
        """Return blocks from `first` to `end` by their numbers, at least one of them. Raises CannotCopy."""
        got: dict[int, bytes] = {}
        reasons: list[str] = []
        for source in list(self._working):
            try:
                wrong = self._fetch_from(source, first, end, got)
            except SourceFailed as failed:
                log.warning("source failed", source=source.url, table=self._table, error=failed.reason)
                self._failed.append(str(failed))
                self._working.remove(source)
                continue
            if wrong:
                log.warning("source gives wrong blocks", source=source.url, table=self._table, error="; ".join(wrong))
                reasons.append(f"{source.url}: {'; '.join(wrong)}")
                self._working.remove(source)
                self._working.append(source)
            if len(got) == end - first:
                break
            reasons.append(f"{source.url}: does not give them all")
        if not got:
            what, version = f"blocks {first} to {end - 1}", self._manifest.version
            raise CannotCopy(_none_gives(what, self._table, version, [*self._failed, *reasons]))
        return got

    def _fetch_from(self, source: BlockSource, first: int, end: int, got: dict[int, bytes]) -> list[str]:
        """Add the right ones of the blocks that are lacking; returns what is wrong with the others.

        A source that sends a block twice, or out of order, has failed: it could go on for ever.
        """
        wrong = []
        is_lacking = np.array([block not in got for block in range(first, end)])
        for begin, stop in ranges_of(is_lacking):
            asked, least = range(first + begin, first + stop), first + begin
            for block, rows in source.blocks(self._table, self._manifest, asked.start, len(asked)):
                if block not in asked:
                    raise SourceFailed(source.url, f"sends block {block}, asked for {asked.start} to {asked.stop - 1}")
                if block < least:
                    raise SourceFailed(source.url, f"sends block {block} again, or after later ones")
                least = block + 1
                fault = self._fault(block, rows)
                if fault is None:
                    got[block] = rows
                else:
                    wrong.append(fault)
        return wrong

    def _fault(self, block: int, rows: bytes) -> str | None:
        """Say what is wrong with a block, None for a right one."""
        manifest = self._manifest
        num_bytes = manifest.rows_in_block(block) * manifest.row_bytes
        if len(rows) != num_bytes:
            return f"block {block}: expected {num_bytes:,} bytes, found {len(rows):,}"
        expected, found = manifest.block_digests[block], block_digest(np.frombuffer(rows, np.uint8))
        return None if expected == found else f"block {block}: expected digest {expected}, found {found}"


def _checked_manifest(source: BlockSource, table: str, version: str) -> Manifest:
    try:
        manifest = Manifest.from_json(source.manifest(table, version))
    except InvalidTableSpec as error:
        raise SourceFailed(source.url, f"sends no manifest: {error}") from error
    if manifest.version != version:
        raise SourceFailed(source.url, f"sends another manifest: expected {version}, found {manifest.version}")
    if manifest.is_attached:
        raise SourceFailed(
            source.url,
            "the version lies in files of a checkpoint, which are not copied block by block: `import` the checkpoint "
            "and publish that, or put it where this node can read it and `attach` it there",
        )
    return manifest


def _none_gives(what: str, table: str, version: str, reasons: Sequence[str]) -> str:
    why = "; ".join(reasons) or "there is no source"
    return f"no source gives {what} of version {version} of table {table!r}: {why}"
