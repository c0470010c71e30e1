"""Lines of a report: a name, and the arithmetic that leads to a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from store_server.commands.plan.amounts import count, gigabits, gigabytes
from store_server.commands.plan.messages import PACKET_BYTES, PACKET_PAYLOAD_BYTES, ROW_NUMBER_BYTES, traffic_of

if TYPE_CHECKING:
    from store_server.commands.plan.messages import Message
    from store_server.commands.plan.node_rate import Cost
    from store_server.commands.plan.sizing import Terms
    from store_server.commands.plan.workload import Workload

_NAME_WIDTH: Final = 15


def line(name: str, text: str) -> str:
    """Return one line."""
    return f"{name:<{_NAME_WIDTH}} {text}"


def section(title: str, lines: list[str]) -> list[str]:
    """Return lines under a title, after an empty one."""
    return ["", title, *lines]


def model_lines(workload: Workload) -> list[str]:
    """Say what is looked up, whatever the rate."""
    model = workload.model
    tables = f"{model.num_tables} table{'s' if model.num_tables > 1 else ''}"
    return [
        line("model", f"{model.name}: {tables} of {gigabytes(model.table_bytes)} together"),
        line(
            "a token",
            f"{model.rows_a_token} rows x {workload.after_deduplication:g} after deduplication x "
            f"{workload.after_cache:g} after the cache = {_rows_a_token(workload):,.6g} rows of "
            f"{model.row_bytes} bytes",
        ),
    ]


def asked_lines(workload: Workload) -> list[str]:
    """Say what the nodes are asked for, all together."""
    tokens = f"{count(workload.tokens_per_second)} tokens/s"
    return [
        line("rows", f"{tokens} x {_rows_a_token(workload):,.6g} rows = {count(workload.rows_per_second)} rows/s"),
        line(
            "fetches",
            f"{tokens} / {workload.call_tokens:,} tokens a call x {workload.model.num_tables} tables = "
            f"{count(workload.fetches_per_second)} fetches/s, each for {count(workload.rows_a_fetch)} rows",
        ),
    ]


def request_lines(terms: Terms, num_nodes: int) -> list[str]:
    """Say what one request carries, takes of the cable and costs."""
    workload, node = terms.workload, terms.node
    traffic = traffic_of(workload, num_nodes)
    return [
        line("a request", _message(traffic.rows_a_request, ROW_NUMBER_BYTES, traffic.request)),
        line("a reply", _message(traffic.rows_a_request, workload.model.row_bytes, traffic.reply)),
        line("at the most", most_rows(node.cost, traffic.rows_a_request)),
    ]


def most_rows(cost: Cost, rows_a_request: float) -> str:
    """Return how many rows a second a node serves in requests of this size."""
    rate = f"{count(cost.rows_per_second(rows_a_request))} rows/s"
    if not cost.request_seconds:
        return f"1,000,000 / {cost.row_seconds * 1e6:.6g} us a row = {rate}"
    rows = count(rows_a_request)
    return (
        f"{rows} rows x 1,000,000 / ({cost.request_seconds * 1e6:.6g} us a request + {rows} rows x "
        f"{cost.row_seconds * 1e6:.6g} us a row) = {rate}"
    )


def node_lines(terms: Terms, num_nodes: int) -> list[str]:
    """Say what each of so many nodes bears, and which share of what it has that is."""
    use, shares, workload = terms.use(num_nodes), terms.shares(num_nodes), terms.workload
    traffic = traffic_of(workload, num_nodes)
    copies = min(terms.copies.replicas, num_nodes)
    of_nodes = f"/ {num_nodes} node{'s' if num_nodes > 1 else ''}"
    requests = f"{count(traffic.requests_per_second)} requests/s x"
    network = f"{shares['network']:.2f} of {gigabits(terms.node.network_bits_per_second)}"
    receives, sends = use.received_bits_per_second, use.sent_bits_per_second
    is_sending_more = sends >= receives
    return [
        line(
            "memory",
            f"{gigabytes(workload.model.table_bytes)} x {copies} copies {of_nodes} = {gigabytes(use.memory_bytes)}: "
            f"{shares['memory']:.2f} of {gigabytes(terms.node.memory_bytes)}",
        ),
        line(
            "disk",
            f"{gigabytes(use.memory_bytes)} x {terms.copies.versions} versions = {gigabytes(use.disk_bytes)}: "
            f"{shares['disk']:.2f} of {gigabytes(terms.node.disk_bytes)}",
        ),
        line(
            "rows",
            f"{count(workload.rows_per_second)} rows/s {of_nodes} = {count(use.rows_per_second)} rows/s: "
            f"{shares['rows']:.2f} of {count(terms.node.cost.rows_per_second(traffic.rows_a_request))} rows/s",
        ),
        line(
            "requests",
            f"{count(workload.rows_per_second)} rows/s / {count(traffic.rows_a_request)} rows {of_nodes} = "
            f"{count(use.requests_per_second)} requests/s",
        ),
        line(
            "receives",
            f"{_bits(requests, traffic.request)} {of_nodes} = {gigabits(receives)}"
            + ("" if is_sending_more else f": {network}"),
        ),
        line(
            "sends",
            f"{_bits(requests, traffic.reply)} {of_nodes} = {gigabits(sends)}"
            + (f": {network}" if is_sending_more else ""),
        ),
    ]


def client_lines(terms: Terms, num_nodes: int, cost: Cost) -> list[str]:
    """Say what the clients bear, all together."""
    workload = terms.workload
    traffic = traffic_of(workload, num_nodes)
    requests, rows = traffic.requests_per_second, workload.rows_per_second
    sent = f"{count(requests)} requests/s x"
    return [
        line("receive", f"{_bits(sent, traffic.reply)} = {gigabits(traffic.sent_bits_per_second)}"),
        line("send", f"{_bits(sent, traffic.request)} = {gigabits(traffic.received_bits_per_second)}"),
        line(
            "processors",
            f"({sent} {cost.request_seconds * 1e6:.4g} us + {count(rows)} rows/s x {cost.row_seconds * 1e6:.4g} us) / "
            f"1,000,000 = {count(cost.of(requests, rows))} cores",
        ),
    ]


def _rows_a_token(workload: Workload) -> float:
    return workload.model.rows_a_token * workload.after_deduplication * workload.after_cache


def _message(rows: float, row_bytes: int, message: Message) -> str:
    return (
        f"({count(rows)} rows x {row_bytes} bytes + {message.around:.1f} around) x {PACKET_BYTES:,} / "
        f"{PACKET_PAYLOAD_BYTES:,} in packets = {count(message.wire_bytes)} bytes"
    )


def _bits(requests: str, message: Message) -> str:
    return f"{requests} {count(message.wire_bytes)} bytes x 8 / 1,000,000,000"
