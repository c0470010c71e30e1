"""A plan as one JSON object, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from store_server.commands.plan.messages import traffic_of

if TYPE_CHECKING:
    from store_server.commands.plan.capacity import Capacity
    from store_server.commands.plan.node_rate import NodeRate
    from store_server.commands.plan.sizing import Plan, Terms


def plan_json(plan: Plan, rate: NodeRate, remarks: list[str]) -> dict[str, Any]:
    """Return how many nodes are needed and why."""
    return {
        "nodes": plan.num_nodes,
        "limits": plan.limits,
        "demands": plan.demands,
        **_borne(plan.terms, plan.num_nodes, rate),
        "remarks": remarks,
    }


def capacity_json(capacity: Capacity, rate: NodeRate, remarks: list[str]) -> dict[str, Any]:
    """Return what the nodes sustain; what each of them bears is said for the rate that leaves some to spare."""
    tokens = capacity.tokens_per_second()
    sustained, terms = min(tokens.values()), capacity.at_most_used()
    return {
        "nodes": capacity.num_nodes,
        "limit": capacity.limit,
        "tokens_per_second": {"fully_used": sustained, "to_spare": terms.workload.tokens_per_second},
        "rows_per_second": {
            "fully_used": sustained * capacity.rows_a_token,
            "to_spare": terms.workload.rows_per_second,
        },
        "tokens_per_second_by": tokens,
        **_borne(terms, capacity.num_nodes, rate),
        "remarks": remarks,
    }


def _borne(terms: Terms, num_nodes: int, rate: NodeRate) -> dict[str, Any]:
    workload, traffic = terms.workload, traffic_of(terms.workload, num_nodes)
    lost_with_domain = terms.lost_with_domain(num_nodes)
    return {
        "asked_for": {
            **asdict(workload),
            "rows_per_second": workload.rows_per_second,
            "fetches_per_second": workload.fetches_per_second,
            "rows_a_fetch": workload.rows_a_fetch,
            "requests_per_second": traffic.requests_per_second,
            "rows_a_request": traffic.rows_a_request,
            **asdict(terms.copies),
            "domains": terms.domains,
            "most_used": terms.most_used,
        },
        "each_node": {
            **asdict(terms.use(num_nodes)),
            "most_rows_per_second": terms.node.cost.rows_per_second(traffic.rows_a_request),
            "used": terms.shares(num_nodes),
        },
        "one_node_lost": _left(terms, num_nodes - 1),
        "one_domain_lost": _left(terms, num_nodes - lost_with_domain) if lost_with_domain else None,
        "clients": {
            "received_bits_per_second": traffic.sent_bits_per_second,
            "sent_bits_per_second": traffic.received_bits_per_second,
            "cores": rate.client.of(traffic.requests_per_second, workload.rows_per_second),
        },
    }


def _left(terms: Terms, num_left: int) -> dict[str, Any] | None:
    """Return how full the nodes that are left would be; None where a loss is not borne, of the only copy."""
    if terms.copies.replicas == 1 or num_left < 1:
        return None
    return {"nodes": num_left, "used": terms.shares(num_left)}
