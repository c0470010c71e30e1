"""The inverse of a plan: what so many nodes sustain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from store_server.commands.failure import CommandFailed
from store_server.commands.plan.amounts import gigabytes
from store_server.commands.plan.node_use import HELD, SERVED

if TYPE_CHECKING:
    from store_server.commands.plan.sizing import Terms


@dataclass(frozen=True, slots=True)
class Capacity:
    """What `num_nodes` nodes sustain; the workload of `terms` is one token a second."""

    terms: Terms
    num_nodes: int

    def tokens_per_second(self, num_nodes: int | None = None) -> dict[str, float]:
        """Return the most that the network and the rows/s of so many nodes let through, each fully used."""
        shares = self.terms.shares(num_nodes or self.num_nodes)
        return {name: 1 / shares[name] for name in SERVED}

    @property
    def limit(self) -> str:
        """Which of the two is the limit."""
        tokens = self.tokens_per_second()
        return min(tokens, key=tokens.__getitem__)

    @property
    def rows_a_token(self) -> float:
        """Rows that reach the nodes for a token."""
        return self.terms.workload.rows_per_second

    def at_most_used(self) -> Terms:
        """Return the terms with the tokens/s that leave as much to spare as they say."""
        tokens = min(self.tokens_per_second().values()) * self.terms.most_used
        return replace(self.terms, workload=replace(self.terms.workload, tokens_per_second=tokens))


def capacity_of(terms: Terms, num_nodes: int) -> Capacity:
    """Return what the nodes sustain; raises CommandFailed where they cannot hold the rows."""
    if terms.copies.replicas > num_nodes:
        raise CommandFailed(f"{terms.copies.replicas} replicas need as many nodes, got --nodes {num_nodes}")
    if terms.domains and terms.domains > num_nodes:
        raise CommandFailed(f"{terms.domains} failure domains need as many nodes, got --nodes {num_nodes}")
    held, has = terms.use(num_nodes), terms.node
    for name, needed, there in zip(
        HELD, (held.memory_bytes, held.disk_bytes), (has.memory_bytes, has.disk_bytes), strict=True
    ):
        if needed > there:
            raise CommandFailed(
                f"each of {num_nodes} nodes must hold {gigabytes(needed)} in its {name}, which has "
                f"{gigabytes(there)}; more nodes or larger ones are needed"
            )
    return Capacity(terms, num_nodes)
