"""How many nodes a workload needs, against arithmetic written out by hand and against what must hold for any."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_server.commands.failure import CommandFailed
from store_server.commands.plan.capacity import capacity_of
from store_server.commands.plan.messages import rows_a_piece, traffic_of
from store_server.commands.plan.node_rate import Cost, flat
from store_server.commands.plan.node_use import Copies, NodeKind
from store_server.commands.plan.presets import PRESETS
from store_server.commands.plan.sizing import MOST_NODES, Plan, Terms, plan_for
from store_server.commands.plan.workload import Workload

MILLION = Workload(model=PRESETS["v41-flash"], tokens_per_second=1e6, call_tokens=8192)
NODE = NodeKind(cost=Cost(0.0004, 0.5e-6), network_bits_per_second=25e9, memory_bytes=256 * 2**30, disk_bytes=2e12)
TERMS = Terms(workload=MILLION, node=NODE, copies=Copies(replicas=2, versions=2), most_used=0.7)


def nodes_or_too_many(terms: Terms) -> int:
    try:
        return plan_for(terms).num_nodes
    except CommandFailed:
        return MOST_NODES + 1


def test_a_million_tokens_of_v41_by_hand() -> None:
    plan = plan_for(TERMS)

    # 48 rows a token, and 244.14 fetches/s of 196,608 rows, of which each node has a part. On 40 nodes that is 9,765.6
    # requests/s: 9,765.6 x 0.4 ms + 48,000,000 x 0.5 us = 27.906 s of nodes a second; / 0.7 = 39.87. On 39 nodes 39.73.
    assert plan.demands == {
        "memory": 3,  # 202.758 GB x 2 / (274.878 GB x 0.7) = 2.108
        "disk": 1,  # 202.758 GB x 2 x 2 / (2,000 GB x 0.7) = 0.579
        "network": 7,  # 107.7 Gbit/s / (25 Gbit/s x 0.7) = 6.157
        "rows": 40,
        "replicas": 2,
        "one node lost": 28,  # at 27 nodes 6,591.8 requests/s take 26.637 s
    }
    assert (plan.num_nodes, plan.limits) == (40, ["rows"])


def test_bytes_on_the_wire_by_hand() -> None:
    traffic = traffic_of(MILLION, 7)

    rows = 1e6 * 48 / (1e6 / 8192 * 2) / 7 / 4  # a seventh of a fetch has 7.4 MB, which are four pieces of 2 MiB
    request = rows * 8 + (9 + 20 + 34 + 4) + 5 + (rows * 8 + 67) / 16384 * 9
    reply = rows * 264 + (9 + 34 + 4) + 5 + (rows * 264 + 47) / 16384 * 9
    assert traffic.rows_a_request == pytest.approx(rows)
    assert traffic.requests_per_second == pytest.approx(6835.9375)
    assert traffic.received_bits_per_second == pytest.approx(6835.9375 * request * 1538 / 1448 * 8, rel=1e-6)
    assert traffic.sent_bits_per_second == pytest.approx(6835.9375 * reply * 1538 / 1448 * 8, rel=1e-6)
    assert traffic.sent_bits_per_second == pytest.approx(107.74e9, rel=1e-4)


def test_a_fetch_of_few_rows_goes_to_as_many_nodes() -> None:
    few = replace(MILLION, call_tokens=1, tokens_per_second=100)

    assert traffic_of(few, 1000).rows_a_request == 1
    assert traffic_of(few, 1000).requests_per_second == 100 * 48
    assert traffic_of(few, 4).rows_a_request == 6


@pytest.mark.parametrize(
    ("rows", "row_bytes", "expected"),
    [(100, 264, 100), (7944, 264, 7944), (65_536, 264, 8192), (1_000_000, 1, 125_000), (6, 1 << 20, 2)],
)
def test_large_requests_are_cut_into_pieces(rows: int, row_bytes: int, expected: float) -> None:
    assert rows_a_piece(rows, row_bytes) == pytest.approx(expected)


def test_of_rows_narrower_than_their_numbers_the_numbers_fill_the_network() -> None:
    narrow = replace(MILLION, model=replace(PRESETS["study"], row_bytes=2), call_tokens=100_000)
    terms = replace(TERMS, workload=narrow, node=replace(NODE, network_bits_per_second=1e9))

    plan = plan_for(terms)

    # 12,000,000 rows/s x 8 bytes x 8 x 1538 / 1448 = 0.816 Gbit/s, of their rows a quarter of it; 0.7 are used at most
    assert plan.demands["network"] == 2
    assert terms.shares(2)["network"] == pytest.approx(0.816 / 2, rel=0.01)


def test_what_the_client_does_not_ask_for_costs_nothing() -> None:
    half = replace(TERMS, workload=replace(MILLION, after_deduplication=0.674, after_cache=0.5))

    assert half.workload.rows_per_second == pytest.approx(16_176_000)
    assert plan_for(half).demands["memory"] == 3
    assert plan_for(replace(half, node=replace(NODE, cost=flat(1e6)))).demands["rows"] == 24  # 16.176 / 0.7 = 23.1


def test_with_one_copy_no_number_of_nodes_bears_a_loss() -> None:
    plan = plan_for(replace(TERMS, copies=Copies(replicas=1, versions=1), domains=3))

    assert "one node lost" not in plan.demands
    assert "one domain lost" not in plan.demands


@pytest.mark.parametrize(("domains", "expected"), [(2, 54), (3, 41), (27, 29)])
def test_what_is_left_without_a_failure_domain_suffices(domains: int, expected: int) -> None:
    # 48,000,000 / 1,800,000 = 26.7: 27 must be left.
    terms = replace(TERMS, domains=domains, node=replace(NODE, cost=flat(1.8e6)))

    plan = plan_for(terms)

    assert plan.demands["one domain lost"] == expected
    assert expected - math.ceil(expected / domains) == 27


@st.composite
def any_terms(draw: st.DrawFn) -> Terms:
    workload = Workload(
        model=draw(st.sampled_from(list(PRESETS.values()))),
        tokens_per_second=draw(st.floats(1, 3e6)),
        call_tokens=draw(st.sampled_from([1, 64, 8192, 100_000])),
        after_deduplication=draw(st.floats(0.1, 1)),
        after_cache=draw(st.floats(0.1, 1)),
    )
    node = NodeKind(
        cost=Cost(draw(st.floats(0, 1e-3)), draw(st.floats(1e-8, 1e-6))),
        network_bits_per_second=draw(st.floats(1e9, 4e11)),
        memory_bytes=draw(st.floats(1e9, 1e12)),
        disk_bytes=draw(st.floats(1e10, 1e13)),
    )
    copies = Copies(replicas=draw(st.integers(1, 4)), versions=draw(st.integers(1, 3)))
    return Terms(
        workload=workload,
        node=node,
        copies=copies,
        most_used=draw(st.floats(0.1, 1)),
        domains=draw(st.none() | st.integers(2, 5)),
    )


FEW = settings(max_examples=25, deadline=None, derandomize=True)


def plan_or_none(terms: Terms) -> Plan | None:
    try:
        return plan_for(terms)
    except CommandFailed:
        return None


@FEW
@given(any_terms())
def test_planned_nodes_bear_everything_and_one_fewer_do_not(terms: Terms) -> None:
    plan = plan_or_none(terms)
    if plan is None:
        return

    number = plan.num_nodes
    assert all(share <= terms.most_used + 1e-6 for share in terms.shares(number).values())
    if terms.copies.replicas > 1:
        assert all(share <= 1 + 1e-6 for share in terms.shares(number - 1).values())
    for name in {"memory", "disk", "network", "rows"} & plan.demands.keys():
        if plan.demands[name] > 1:
            assert terms.shares(plan.demands[name] - 1)[name] > terms.most_used


@FEW
@given(any_terms(), st.floats(1, 10))
def test_more_to_do_never_takes_fewer_nodes(terms: Terms, factor: float) -> None:
    workload, copies = terms.workload, terms.copies
    before = nodes_or_too_many(terms)
    more = [
        replace(terms, workload=replace(workload, tokens_per_second=workload.tokens_per_second * factor)),
        replace(terms, workload=replace(workload, after_cache=min(1.0, workload.after_cache * factor))),
        replace(terms, copies=replace(copies, replicas=copies.replicas + 1)),
        replace(terms, copies=replace(copies, versions=copies.versions + 1)),
        replace(terms, most_used=terms.most_used / factor),
    ]

    assert min(map(nodes_or_too_many, more)) >= before


@FEW
@given(any_terms(), st.floats(1, 10))
def test_larger_nodes_are_never_more(terms: Terms, factor: float) -> None:
    node = terms.node
    larger = NodeKind(
        cost=Cost(node.cost.request_seconds / factor, node.cost.row_seconds / factor),
        network_bits_per_second=node.network_bits_per_second * factor,
        memory_bytes=node.memory_bytes * factor,
        disk_bytes=node.disk_bytes * factor,
    )

    assert nodes_or_too_many(replace(terms, node=larger)) <= nodes_or_too_many(terms)


@FEW
@given(any_terms())
def test_what_planned_nodes_sustain_is_at_least_what_was_asked_for(terms: Terms) -> None:
    plan = plan_or_none(terms)
    if plan is None:
        return
    one = replace(terms, workload=replace(terms.workload, tokens_per_second=1.0))

    capacity = capacity_of(one, plan.num_nodes)

    sustained = capacity.at_most_used()
    assert sustained.workload.tokens_per_second >= terms.workload.tokens_per_second * (1 - 1e-6)
    busiest = max(sustained.shares(plan.num_nodes)[name] for name in ("network", "rows"))
    assert busiest == pytest.approx(terms.most_used)
