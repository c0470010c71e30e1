"""What one seed stands for: how large the cluster is, who reads from it and what befalls it."""

import random
from dataclasses import dataclass

from engram_client.cluster.hedging import HedgeSettings

ROW_BYTES = (24, 40, 1024)
_PLACED_SHARE = 0.03  # they take ten times as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Sizes and rates; all else is drawn while it runs, from streams of numbers that the seed begins."""

    seed: int
    num_nodes: int
    replicas: int
    num_clients: int
    readers: int
    fetches_a_reader: int
    seconds: float
    seconds_between_faults: float
    seconds_between_changes: float
    hedging: HedgeSettings
    forges_maps: bool
    """A node hands out maps of its own making: then fetches may fail, though never wrongly."""
    ends_slower: bool
    """All nodes become slower at some moment and stay so."""
    closes_under_load: bool
    is_large: bool
    """So many nodes that placement is simulated by itself, without clients."""
    is_placed: bool
    """The map follows from what nodes do, by the product's steps, and not from chance."""
    joins: int
    """Nodes that are not there at the beginning of a placed cluster."""
    longest_fault_seconds: float

    def dice(self, purpose: str) -> random.Random:
        """Return numbers of their own for a purpose: one more drawn for another does not change them."""
        return random.Random(f"{self.seed}/{purpose}")


def scenario_of(seed: int, fewest_nodes: int, most_nodes: int, *, is_placed: bool | None = None) -> Scenario:
    """Return what a seed stands for in clusters of so many nodes; `is_placed` is drawn unless it is given."""
    dice = random.Random(f"{seed}/scenario")
    num_nodes = dice.randint(fewest_nodes, most_nodes)
    seconds = dice.uniform(3.0, 20.0)
    is_large = num_nodes > 100
    num_faults = 40 if is_large else dice.randint(0, 8)
    if is_placed is None:
        is_placed = not is_large and random.Random(f"{seed}/is placed").random() < _PLACED_SHARE
    if is_placed:
        seconds *= 4
    replicas = dice.choice((2, 3))
    return Scenario(
        seed=seed,
        num_nodes=num_nodes,
        replicas=replicas,
        num_clients=dice.choice((1, 1, 2)),
        readers=dice.randint(1, 3),
        fetches_a_reader=dice.randint(6, 12),
        seconds=seconds,
        seconds_between_faults=seconds / (num_faults + 0.1),
        seconds_between_changes=seconds / dice.randint(1, 6),
        hedging=HedgeSettings(budget=dice.choice((0.05, 0.05, 0.05, 0.0, 0.2))),
        forges_maps=dice.random() < 0.05,
        ends_slower=dice.random() < 0.1,
        closes_under_load=dice.random() < 0.3,
        is_large=is_large,
        is_placed=is_placed,
        joins=min(dice.randint(0, 2), num_nodes - replicas),
        longest_fault_seconds=60.0 if is_placed else 12.0,
    )
