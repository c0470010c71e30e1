"""What a living node says of itself to the other nodes of its cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, NamedTuple, TypeAlias

from engram_store.shard_map import MAX_CAPACITY_BYTES, Node, VersionKey

_MOST_LABELS: Final = 100
_MOST_BYTES_A_TEXT: Final = 1000
_MOST_CHARACTERS_A_FAILURE: Final = 240  # of at most four bytes each

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
    replicas: int = 0
    """How many nodes are to hold each row if this one makes the first map; 0 if it does not say."""
    disk_failure: str = ""
    """Why the disk of the node takes no more rows, "" while it does."""

    def to_json(self) -> bytes:
        """Return what `from_json` reads; the same for the same registration."""
        held = [[key.table, key.version, ranges] for key, ranges in sorted(self.held.items())]
        values = {
            "node": asdict(self.node),
            "incarnation": self.incarnation,
            "held": held,
            "bytes_used": self.bytes_used,
            "read": sorted(self.read),
            "replicas": self.replicas,
            "disk_failure": self.disk_failure[:_MOST_CHARACTERS_A_FAILURE],
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> NodeRegistration:
        """Return the registration in a JSON text; raises InvalidRegistration.

        Fields that are unknown are passed over: a newer node may have them.
        """
        try:
            values = json.loads(data)
            return cls(
                node=_node(values["node"]),
                incarnation=_text(values["incarnation"]),
                held={
                    VersionKey(_text(table), _text(version)): _ranges(ranges)
                    for table, version, ranges in values["held"]
                },
                bytes_used=_number(values["bytes_used"]),
                read=frozenset(VersionKey(_text(table), _text(version)) for table, version in values.get("read", [])),
                replicas=_number(values.get("replicas", 0)),
                disk_failure=_text(values.get("disk_failure", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
            raise InvalidRegistration(f"no registration of a node: {error!r:.300}") from error


def _node(values: Mapping[str, object]) -> Node:
    """Return what every map can say of a node: one that cannot be stored would be the last of its cluster."""
    labels, draining = values.get("labels", {}), values.get("draining", False)
    if not isinstance(labels, dict) or len(labels) > _MOST_LABELS:
        raise TypeError(f"labels must be an object of at most {_MOST_LABELS}, got {labels!r:.200}")
    if not isinstance(draining, bool):
        raise TypeError(f"draining must be true or false, got {draining!r:.200}")
    return Node(
        id=_text(values["id"]),
        address=_text(values["address"]),
        labels={_text(key): _text(value) for key, value in labels.items()},
        capacity_bytes=_number(values.get("capacity_bytes", 0)),
        draining=draining,
    )


def _text(value: object) -> str:
    """Return a text that UTF-8 has bytes for."""
    if not isinstance(value, str) or len(value.encode()) > _MOST_BYTES_A_TEXT:
        raise TypeError(f"expected a text of at most {_MOST_BYTES_A_TEXT} bytes, got {value!r:.200}")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_CAPACITY_BYTES:
        raise TypeError(f"expected a whole number from 0 to {MAX_CAPACITY_BYTES}, got {value!r:.200}")
    return value


def _ranges(given: list[list[int]]) -> BlockRanges:
    ranges = tuple((_number(first), _number(end)) for first, end in given)
    borders = [border for pair in ranges for border in pair]
    if any(before >= after for before, after in zip([-1, *borders], borders, strict=False)):
        raise ValueError(f"ranges of blocks must rise and lie apart, got {ranges!r:.200}")
    return ranges
