"""The map as it is agreed upon, with every epoch that it had; nodes here have numbers of their own."""

import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engram_store.shard_map import Node, Shard, ShardedVersion, ShardMap, TableSet, VersionKey

BLOCK_ROWS = 10


@dataclass(slots=True, eq=False)
class Spread:
    """One version and who holds its shards."""

    key: VersionKey
    row_bytes: int
    ends: NDArray[np.int64]  # of the shards
    holders: list[tuple[int, ...]]
    joining: dict[int, int] = field(default_factory=dict)  # shard to node

    @property
    def num_rows(self) -> int:
        return int(self.ends[-1])

    def shards_of(self, rows: NDArray[np.int64]) -> set[int]:
        """Return the shards in which rows are; a literal search, which shares nothing with the client's."""
        return set(np.searchsorted(self.ends, rows, side="right").tolist())


def address_of(number: int) -> str:
    return f"node-{number}"


def number_at(address: str) -> int:
    return int(address.removeprefix("node-"))


def number_of(node_id: str) -> int:
    return int(node_id.removeprefix("n"))


class AgreedMap:
    """What etcd would hold: state to change, and `agree` to make it the next epoch."""

    def __init__(self, num_nodes: int, replicas: int, dice: random.Random) -> None:
        self.num_nodes, self.replicas = num_nodes, replicas
        self.spreads: dict[VersionKey, Spread] = {}
        self.ever: dict[VersionKey, Spread] = {}
        self.current: dict[str, dict[str, str]] = {}  # set to its tables' versions
        self.pending: dict[str, dict[str, str]] = {}
        self.belong_together: list[dict[str, str]] = []  # every `current` that there was, of any set
        self.epochs: list[ShardMap] = []
        self._dice = dice

    @property
    def newest(self) -> ShardMap:
        return self.epochs[-1]

    def add(self, spread: Spread) -> None:
        self.spreads[spread.key] = self.ever[spread.key] = spread

    def is_dropped(self, key: VersionKey) -> bool:
        return key not in self.spreads

    def make_current(self, name: str, versions: dict[str, str]) -> None:
        self.current[name] = versions
        self.pending.pop(name, None)
        self.belong_together.append(versions)

    def agree(self) -> ShardMap:
        """Make the present state the next epoch: nodes in any order, those that hold nothing perhaps left out."""
        made = self.map_of(self.spreads, len(self.epochs) + 1)
        self.epochs.append(made)
        return made

    def take(self, shard_map: ShardMap) -> None:
        """Let a map that others have agreed upon be the next epoch."""
        numbers = [number_at(node.address) for node in shard_map.nodes]
        self.spreads = {key: _spread_of(version, numbers) for key, version in shard_map.versions.items()}
        self.ever.update(self.spreads)
        for name, each in shard_map.sets.items():
            self.pending[name] = dict(each.pending)
            if each.current and self.current.get(name) != each.current:
                self.current[name] = dict(each.current)
                self.belong_together.append(self.current[name])
        self.epochs.append(shard_map)

    def shard_bytes(self, key: VersionKey) -> list[int]:
        """Return the size of each shard of a version."""
        spread = self.ever[key]
        return (np.diff(spread.ends, prepend=0) * spread.row_bytes).tolist()

    def blocks_of(self, key: VersionKey, shard: int) -> tuple[int, int]:
        """Return the first block of a shard and the one after its last."""
        ends = self.ever[key].ends
        first = int(ends[shard - 1]) if shard else 0
        return first // BLOCK_ROWS, -(-int(ends[shard]) // BLOCK_ROWS)

    def map_of(self, spreads: dict[VersionKey, Spread], epoch: int) -> ShardMap:
        """Return a map with certain spreads and all else as it is."""
        needed = {node for each in spreads.values() for holders in each.holders for node in holders}
        needed.update(node for each in spreads.values() for node in each.joining.values())
        numbers = [node for node in range(self.num_nodes) if node in needed or self._dice.random() < 0.5]
        self._dice.shuffle(numbers)
        places = {node: place for place, node in enumerate(numbers)}
        return ShardMap(
            cluster="simulated",
            epoch=epoch,
            replicas=min(self.replicas, len(numbers)),
            nodes=tuple(Node(id=f"n{node}", address=address_of(node)) for node in numbers),
            versions={key: _sharded(each, places) for key, each in spreads.items()},
            sets={
                name: TableSet(name=name, current=dict(versions), pending=dict(self.pending.get(name, {})))
                for name, versions in self.current.items()
            },
        )


def _sharded(spread: Spread, places: dict[int, int]) -> ShardedVersion:
    return ShardedVersion(
        table=spread.key.table,
        version=spread.key.version,
        num_rows=spread.num_rows,
        row_bytes=spread.row_bytes,
        block_rows=BLOCK_ROWS,
        shards=tuple(
            Shard(
                end_row=end,
                holders=tuple(places[node] for node in holders),
                joining=(places[spread.joining[shard]],) if shard in spread.joining else (),
            )
            for shard, (end, holders) in enumerate(zip(spread.ends.tolist(), spread.holders, strict=True))
        ),
    )


def _spread_of(version: ShardedVersion, numbers: list[int]) -> Spread:
    ends = np.array([shard.end_row for shard in version.shards], np.int64)
    holders = [tuple(numbers[place] for place in shard.holders) for shard in version.shards]
    return Spread(version.key, version.row_bytes, ends, holders)


def spread_at_random(key: VersionKey, row_bytes: int, num_nodes: int, replicas: int, dice: random.Random) -> Spread:
    """Return a version in shards even or uneven, held by neighbours or by anyone."""
    num_shards = dice.randint(1, 2 * num_nodes)
    if dice.random() < 0.5:
        blocks = [dice.randint(1, 20)] * num_shards
    else:
        blocks = [dice.randint(1, 20) for _ in range(num_shards)]
    ends = np.cumsum(np.array(blocks) * BLOCK_ROWS)
    ends[-1] -= dice.randrange(BLOCK_ROWS)  # the last block may be short
    if dice.random() < 0.5:
        holders = [tuple((shard + i) % num_nodes for i in range(replicas)) for shard in range(num_shards)]
    else:
        holders = [tuple(dice.sample(range(num_nodes), replicas)) for _ in range(num_shards)]
    return Spread(key, row_bytes, ends, holders)
