"""What one should know before one builds on a plan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from store_server.commands.plan.amounts import count
from store_server.commands.plan.messages import traffic_of

if TYPE_CHECKING:
    from store_server.commands.plan.node_rate import NodeRate
    from store_server.commands.plan.sizing import Terms

# Within this factor of a size that was measured, the figure holds well enough.
_LIKE: Final = 2.0


def remarks(terms: Terms, rate: NodeRate, num_nodes: int) -> list[str]:
    """Return what was not measured as it will be, and what the terms leave unprotected."""
    found = [rate.remark, _request_size(terms, rate, num_nodes), _row_width(terms, rate), _copies(terms)]
    return [remark for remark in found if remark]


def _request_size(terms: Terms, rate: NodeRate, num_nodes: int) -> str:
    rows = traffic_of(terms.workload, num_nodes).rows_a_request
    if not rate.sizes or min(rate.sizes) / _LIKE <= rows <= max(rate.sizes) * _LIKE:
        return ""
    measured = " and ".join(count(size) for size in rate.sizes)
    return (
        f"requests will be for {count(rows)} rows, what they cost was measured with {measured}: measure with "
        f"--rows {math.ceil(rows)} too, and give --from-load for each"
    )


def _row_width(terms: Terms, rate: NodeRate) -> str:
    row_bytes = terms.workload.model.row_bytes
    if rate.row_bytes in (None, row_bytes):
        return ""
    return f"rows have {row_bytes} bytes and what a row costs was measured with {rate.row_bytes}"


def _copies(terms: Terms) -> str:
    replicas = terms.copies.replicas
    if replicas == 1:
        return "one copy: while a node is away its rows cannot be read"
    if terms.domains and terms.domains < replicas:
        return f"{replicas} copies in {terms.domains} failure domains: some share one"
    return ""
