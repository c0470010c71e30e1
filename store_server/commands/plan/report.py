"""What people read: how many nodes, and the arithmetic of it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from store_server.commands.plan import lines
from store_server.commands.plan.amounts import count, gigabits, gigabytes
from store_server.commands.plan.lines import line, section
from store_server.commands.plan.messages import traffic_of

if TYPE_CHECKING:
    from store_server.commands.plan.capacity import Capacity
    from store_server.commands.plan.node_rate import Cost
    from store_server.commands.plan.sizing import Plan, Terms


_WIDTH: Final = 110


def plan_text(plan: Plan, client: Cost, remarks: list[str]) -> str:
    """Return the lines about a plan."""
    terms, number = plan.terms, plan.num_nodes
    text = [*lines.model_lines(terms.workload), *lines.asked_lines(terms.workload)]
    text += section(f"NODES, each used to {terms.most_used:g} at the most", _demands(plan))
    text += [line("it takes", f"{nodes(number)}, because of {' and '.join(plan.limits)}")]
    text += section(f"EACH OF {nodes(number)}", lines.request_lines(terms, number))
    text += lines.node_lines(terms, number)
    text += _losses(terms, number)
    text += section("CLIENTS, all together", lines.client_lines(terms, number, client))
    return "\n".join([*text, *_remarks(remarks)])


def capacity_text(capacity: Capacity, client: Cost, remarks: list[str]) -> str:
    """Return the lines about what nodes sustain."""
    terms, number = capacity.at_most_used(), capacity.num_nodes
    text = lines.model_lines(terms.workload)
    text += section(f"{nodes(number)} FULLY USED", _sustained(capacity, number))
    text += section(f"USED TO {terms.most_used:g}", _used_in_part(capacity, terms))
    text += lines.asked_lines(terms.workload)
    text += section(f"EACH OF {nodes(number)}", lines.request_lines(terms, number))
    text += lines.node_lines(terms, number)
    text += _losses(terms, number)
    text += section("CLIENTS, all together", lines.client_lines(terms, number, client))
    return "\n".join([*text, *_remarks(remarks)])


def nodes(number: int) -> str:
    """Return a number of nodes in words."""
    return f"{number:,} node{'' if number == 1 else 's'}"


def _demands(plan: Plan) -> list[str]:
    terms, demands = plan.terms, plan.demands
    how = {**_held_and_served(terms, demands), **_counted(terms, demands)}
    return [line(name, f"{how[name]} -> {nodes(number)}") for name, number in demands.items()]


def _held_and_served(terms: Terms, demands: dict[str, int]) -> dict[str, str]:
    workload, node, spared = terms.workload, terms.node, f"x {terms.most_used:g})"
    held = f"{gigabytes(workload.model.table_bytes)} x {terms.copies.replicas} copies"
    traffic = traffic_of(workload, demands["network"])
    bits = max(traffic.received_bits_per_second, traffic.sent_bits_per_second)
    rows_per_second = node.cost.rows_per_second(traffic_of(workload, demands["rows"]).rows_a_request)
    divided = {
        "memory": (held, gigabytes(node.memory_bytes), terms.copies.replicas * workload.model.table_bytes),
        "disk": (
            f"{held} x {terms.copies.versions} versions",
            gigabytes(node.disk_bytes),
            terms.copies.replicas * workload.model.table_bytes * terms.copies.versions,
        ),
        "network": (gigabits(bits), gigabits(node.network_bits_per_second), bits),
        "rows": (
            f"{count(workload.rows_per_second)} rows/s",
            f"{count(rows_per_second)} rows/s",
            workload.rows_per_second,
        ),
    }
    has = {
        "memory": node.memory_bytes,
        "disk": node.disk_bytes,
        "network": node.network_bits_per_second,
        "rows": rows_per_second,
    }
    return {
        name: f"{needed} / ({there} {spared} = {count(amount / (has[name] * terms.most_used))}"
        for name, (needed, there, amount) in divided.items()
    }


def _counted(terms: Terms, demands: dict[str, int]) -> dict[str, str]:
    how = {"replicas": f"{terms.copies.replicas} copies of each row, on a node each"}
    if terms.domains:
        how["domains"] = f"{terms.domains} failure domains of a node at least"
    if "one node lost" in demands:
        left = demands["one node lost"] - 1
        how["one node lost"] = f"{left:,} fully used suffice for all of it, and 1 to lose"
    if "one domain lost" in demands:
        lost = terms.lost_with_domain(demands["one domain lost"])
        left = demands["one domain lost"] - lost
        how["one domain lost"] = f"{left:,} fully used suffice for network and rows, and {lost:,} to lose"
    return how


def _losses(terms: Terms, number: int) -> list[str]:
    """Say what the nodes bear that are left; nothing where there is one copy and so nobody left to ask."""
    if terms.copies.replicas == 1 or number == 1:
        return []
    text = section(f"ONE NODE LOST: {nodes(number - 1)} left, with its copies made again", _left(terms, number - 1))
    lost = terms.lost_with_domain(number)
    if lost:
        of_all = f"{number:,} / {terms.domains} rounded up = {nodes(lost)}"
        title = f"ONE FAILURE DOMAIN LOST, {of_all}: {nodes(number - lost)} left, with all copies made again"
        text += section(title, _left(terms, number - lost))
    return text


def _left(terms: Terms, num_left: int) -> list[str]:
    """Return how full the nodes that are left would be, and what that leaves."""
    text = []
    for name, share in terms.shares(num_left).items():
        if share <= 1:
            text.append(line(name, f"{share:.2f} used, 1 - {share:.2f} = {1 - share:.2f} to spare"))
        elif name in ("memory", "disk"):
            text.append(line(name, f"{share:.2f} used would be needed: not all copies can be made again"))
        else:
            text.append(line(name, f"{share:.2f} used would be needed: LOOKUPS ARE LATE or fail"))
    return text


def _sustained(capacity: Capacity, number: int) -> list[str]:
    tokens, rows_a_token, node = capacity.tokens_per_second(), capacity.rows_a_token, capacity.terms.node
    rows_per_second = tokens["rows"] * rows_a_token / number
    per_token = 1 / tokens["network"] * node.network_bits_per_second * number
    least = min(tokens.values())
    return [
        line(
            "rows",
            f"{nodes(number)} x {count(rows_per_second)} rows/s / {rows_a_token:,.6g} rows a token = "
            f"{count(tokens['rows'])} tokens/s",
        ),
        line(
            "network",
            f"{nodes(number)} x {gigabits(node.network_bits_per_second)} x 1,000,000,000 / {count(per_token)} bits a "
            f"token = {count(tokens['network'])} tokens/s",
        ),
        line("sustained", f"{count(least)} tokens/s x {rows_a_token:,.6g} rows = {count(least * rows_a_token)} rows/s"),
        line("", f"{capacity.limit} {'are' if capacity.limit == 'rows' else 'is'} the limit"),
    ]


def _used_in_part(capacity: Capacity, terms: Terms) -> list[str]:
    full = min(capacity.tokens_per_second().values())
    return [
        line(
            "tokens",
            f"{count(full)} tokens/s x {terms.most_used:g} = {count(terms.workload.tokens_per_second)} tokens/s",
        )
    ]


def _remarks(remarks: list[str]) -> list[str]:
    notes = [textwrap.fill(f"NOTE  {remark}", _WIDTH, subsequent_indent=" " * 6) for remark in remarks]
    return ["", *notes] if notes else []
