"""What a living node says of itself to the other nodes of its cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple, TypeAlias

from engram_store.shard_map import Node, VersionKey

BlockRanges: TypeAlias = tuple[tuple[int, int], ...]
"""Half-open ranges of blocks, rising and apart."""


class InvalidRegistration(ValueError):
    """What stands where a node registers is no registration; says why."""


class Holdings(NamedTuple):
    """What a node holds."""

    blocks: Mapping[VersionKey, BlockRanges]
    num_bytes: int
    read: frozenset[VersionKey] = frozenset()
    """Those of the versions that clients have read lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRegistration:
    """One node, as long as its lease lasts."""

    node: Node
    incarnation: str
    """Another one whenever the node starts, so that two nodes with one id are told apart."""
    held: Mapping[VersionKey, BlockRanges] = field(default_factory=dict)
    """Blocks that the node holds, checked, and serves."""
    bytes_used: int = 0
    """Bytes of rows that it holds."""
    read: frozenset[VersionKey] = frozenset()
    """Those of the versions that clients have read there lately."""

    def to_json(self) -> bytes:
        """Return what `from_json` reads; the same for the same registration."""
        held = [[key.table, key.version, ranges] for key, ranges in sorted(self.held.items())]
        values = {
            "node": asdict(self.node),
            "incarnation": self.incarnation,
            "held": held,
            "bytes_used": self.bytes_used,
            "read": sorted(self.read),
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> NodeRegistration:
        """Return the registration in a JSON text; raises InvalidRegistration."""
        try:
            values = json.loads(data)
            node = Node(**values["node"])
            held = {VersionKey(str(table), str(version)): _ranges(ranges) for table, version, ranges in values["held"]}
            return cls(
                node=_checked(node),
                incarnation=str(values["incarnation"]),
                held=held,
                bytes_used=int(values["bytes_used"]),
                read=frozenset(VersionKey(str(table), str(version)) for table, version in values.get("read", [])),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidRegistration(f"no registration of a node: {error!r:.300}") from error


def _checked(node: Node) -> Node:
    if not (isinstance(node.id, str) and isinstance(node.address, str) and isinstance(node.labels, dict)):
        raise TypeError(f"id and address must be texts and labels an object, got {node!r:.200}")
    return node


def _ranges(given: list[list[int]]) -> BlockRanges:
    ranges = tuple((int(first), int(end)) for first, end in given)
    borders = [border for pair in ranges for border in pair]
    if any(before >= after for before, after in zip([-1, *borders], borders, strict=False)):
        raise ValueError(f"ranges of blocks must rise and lie apart, got {ranges!r:.200}")
    return ranges
