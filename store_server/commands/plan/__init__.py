"""`engram-store plan`: how many nodes a model needs at a rate of tokens, or what so many nodes sustain."""

from __future__ import annotations

import json

import typer

from store_server.commands.plan import asked
from store_server.commands.plan import options as given
from store_server.commands.plan.as_json import capacity_json, plan_json
from store_server.commands.plan.capacity import capacity_of
from store_server.commands.plan.node_use import Copies, NodeKind
from store_server.commands.plan.remarks import remarks
from store_server.commands.plan.report import capacity_text, plan_text
from store_server.commands.plan.sizing import Terms, plan_for
from store_server.commands.plan.workload import Workload


def plan(
    tokens_per_second: given.TokensOption = None,
    nodes: given.NodesOption = None,
    model: given.ModelOption = None,
    rows_a_token: given.RowsATokenOption = None,
    row_bytes: given.RowBytesOption = None,
    table_bytes: given.TableBytesOption = None,
    tables: given.TablesOption = None,
    call_tokens: given.CallTokensOption = 8192,
    after_deduplication: given.AfterDeduplicationOption = given.ALL,
    after_cache: given.AfterCacheOption = given.ALL,
    from_load: given.FromLoadOption = None,
    rows_per_second_a_node: given.RowsPerSecondOption = None,
    client_us_a_row: given.ClientMicrosecondsOption = None,
    network: given.NetworkOption = given.NETWORK,
    ram: given.RamOption = given.RAM,
    disk: given.DiskOption = given.DISK,
    nodes_a_machine: given.NodesAMachineOption = 1,
    replicas: given.ReplicasOption = 2,
    versions: given.VersionsOption = 2,
    domains: given.DomainsOption = None,
    most_used: given.MostUsedOption = given.MOST_USED,
    as_json: given.JsonOption = False,
) -> None:
    """Say how many nodes a model needs, or what so many sustain, with the arithmetic.

    \b
    engram-store plan --tokens-per-second 1M
    engram-store plan --tokens-per-second 1M --network 100G --ram 512GiB --domains 3 --after-deduplication 0.674
    engram-store plan --tokens-per-second 250k --from-load small.json --from-load large.json --call-tokens 256
    engram-store plan --nodes 4 --rows-per-second-a-node 1.5M

    Rows and lookups are taken to be spread evenly over nodes that are alike. GB and Gbit are powers of ten.
    """  # noqa: D301  # \b tells click to leave the lines alone
    asked.require_one_question(tokens_per_second, nodes)
    asked.require_above_zero({"--ram": ram, "--disk": disk, "--table-bytes": table_bytes})
    rate = asked.asked_rate(from_load, rows_per_second=rows_per_second_a_node, client_microseconds=client_us_a_row)
    terms = Terms(
        workload=Workload(
            model=asked.asked_model(
                model and model.value,
                rows_a_token=rows_a_token,
                row_bytes=row_bytes,
                table_bytes=table_bytes,
                tables=tables,
            ),
            tokens_per_second=tokens_per_second or 1.0,
            call_tokens=call_tokens,
            after_deduplication=after_deduplication,
            after_cache=after_cache,
        ),
        node=NodeKind(
            cost=rate.node.shared_by(nodes_a_machine),
            network_bits_per_second=network / nodes_a_machine,
            memory_bytes=ram / nodes_a_machine,
            disk_bytes=disk / nodes_a_machine,
        ),
        copies=Copies(replicas=replicas, versions=versions),
        most_used=most_used,
        domains=domains,
    )
    if nodes is None:
        planned = plan_for(terms)
        found = remarks(terms, rate, planned.num_nodes)
        typer.echo(json.dumps(plan_json(planned, rate, found)) if as_json else plan_text(planned, rate.client, found))
    else:
        capacity = capacity_of(terms, nodes)
        found = remarks(terms, rate, nodes)
        typer.echo(
            json.dumps(capacity_json(capacity, rate, found)) if as_json else capacity_text(capacity, rate.client, found)
        )
