"""`serve`: run a node until it is told to stop."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from store_server.cluster.cluster_config import ClusterConfig
from store_server.commands import cluster_options
from store_server.commands.byte_size import parse_byte_size
from store_server.commands.failure import CommandFailed
from store_server.config import ServerConfig
from store_server.logs import log_to_stderr
from store_server.placement import CannotPlace, parse_numbers, place, take_place
from store_server.storage import StorageError
from store_server.storage.data_root import TABLES
from store_server.storage.root_lock import root_lock
from store_server.workers.settings import divided
from store_server.workers.supervisor import WorkersFailed, supervise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store_server.placement import Placement

EXAMPLES: Final = (
    "engram-store serve ./data --listen 0.0.0.0:50051 --memory-budget 64GiB",
    "engram-store serve ./data --in-memory demo/layer-1",
    "engram-store serve ./data --listen 0.0.0.0:50051 --workers 4 --pin-cores 0-7",
    "engram-store serve ./data --listen 10.0.0.1:50051 --cluster etcd://10.0.0.9:2379/prod --node-id memory-1",
)


def serve(
    context: typer.Context,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Data root with the tables to serve.")],
    listen: Annotated[
        str, typer.Option(help="HOST:PORT to listen on (port 0 picks a free one), or unix:///PATH.")
    ] = "127.0.0.1:50051",
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            help="Processes that serve, each on a port of its own (PORT, PORT+1, ...; PATH, PATH.1, ...). They share "
            "what is in RAM; clients learn of them and spread their load.",
        ),
    ] = 1,
    in_memory: Annotated[
        list[str] | None,
        typer.Option("--in-memory", metavar="NAME", help="Load this table into RAM. May be given several times."),
    ] = None,
    huge_pages: Annotated[bool, typer.Option(help="Ask for huge pages for the tables in RAM.")] = False,
    memory_budget: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            parser=parse_byte_size,
            help="How much of the mapped tables may lie in RAM, such as 8GiB: what the node has mapped, and what it "
            "finds of them in the page cache. What was not used lately goes. Workers have equal parts of it. Not "
            "counted are tables --in-memory and the node's own memory.",
        ),
    ] = None,
    pin_cores: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Run on these cores only, such as 0,2,4-7; each worker has its part of them."
        ),
    ] = None,
    numa_nodes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Run on the cores of these NUMA nodes, such as 0 or 0,1, and take memory there; each worker has one "
            "node, in turn. A table in RAM lies on the node of the worker that loads it.",
        ),
    ] = None,
    drain_seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long a stop may take: lookups that are under way and, for half of that time, until clients have "
            "gone to other nodes of the cluster.",
        ),
    ] = 10.0,
    cluster: cluster_options.Url = None,
    node_id: cluster_options.NodeId = None,
    advertise: cluster_options.Advertise = None,
    label: cluster_options.Labels = None,
    capacity: cluster_options.Capacity = None,
    replicas: cluster_options.Replicas = 2,
    lease_seconds: cluster_options.LeaseSeconds = 10,
    lost_after: cluster_options.LostAfter = 60.0,
    all_lost_after: cluster_options.AllLostAfter = 600.0,
    copy_rate: cluster_options.CopyRate = None,
    keep_seconds: cluster_options.KeepSeconds = 300.0,
    retire_after: cluster_options.RetireAfter = 60.0,
    retire_at_latest: cluster_options.RetireAtLatest = 3600.0,
    scrub_rate: cluster_options.ScrubRate = None,
    password_file: cluster_options.PasswordFile = None,
    etcd_ca: cluster_options.CaFile = None,
    etcd_cert: cluster_options.CertFile = None,
    etcd_key: cluster_options.KeyFile = None,
) -> None:
    """Serve the tables of a data root over gRPC.

    Prints one line, "listening on HOST:PORT", when it is ready. SIGTERM or SIGINT (Ctrl-C) tells clients to go to other
    nodes, if there are any, finishes what is under way and ends with exit code 0; a second one ends at once. A worker
    that dies is started again.
    """
    if cluster is None and (given := cluster_options.given_in(context)):
        raise typer.BadParameter(f"without --cluster, {', '.join(given)} would mean nothing: give --cluster, too")
    try:
        cluster_config = None
        if cluster is not None:
            cluster_config = ClusterConfig(
                url=cluster,
                node_id=node_id or "",
                address=advertise or "",
                labels=cluster_options.parse_labels(label),
                capacity_bytes=capacity or 0,
                replicas=replicas,
                lease_seconds=lease_seconds,
                lost_after_seconds=lost_after,
                all_lost_after_seconds=all_lost_after,
                copy_bytes_per_second=copy_rate,
                keep_seconds=keep_seconds,
                retire_after_seconds=retire_after,
                retire_at_latest_seconds=retire_at_latest,
                scrub_bytes_per_second=scrub_rate,
                password_file=password_file,
                ca_file=etcd_ca,
                cert_file=etcd_cert,
                key_file=etcd_key,
            )
        config = ServerConfig(
            root=root,
            listen=listen,
            in_memory=frozenset(in_memory or ()),
            huge_pages=huge_pages,
            memory_budget_bytes=memory_budget,
            drain_seconds=drain_seconds,
            cluster=cluster_config,
        )
        placements = place(workers, pin_cores=_numbers(pin_cores), numa_nodes=_numbers(numa_nodes))
        configs = divided(config, workers)
        if cluster is not None:
            _make_root(root)
        log_to_stderr()
        code = _serve_with_workers(configs, placements) if workers > 1 else _serve_here(config, placements[0])
    except (ValueError, CannotPlace, WorkersFailed, StorageError) as error:
        raise CommandFailed(str(error)) from error
    if code:
        raise typer.Exit(code)


def _make_root(root: Path) -> None:
    """Make the data root of a node that begins with nothing: it fetches what the map gives it."""
    if not (root / TABLES).exists():
        with root_lock(root):
            return


def _serve_with_workers(configs: Sequence[ServerConfig], placements: Sequence[Placement | None]) -> int:
    return asyncio.run(supervise(configs, placements, _say_listening))


def _serve_here(config: ServerConfig, placement: Placement | None) -> int:
    from store_server.serving import ServingFailed  # not in the parent of workers: it needs none of this
    from store_server.serving import serve as serve_until_told

    take_place(placement)
    try:
        serve_until_told(config, listening=lambda node: _say_listening(node.address))
    except ServingFailed as error:
        raise CommandFailed(str(error)) from error
    return 0


def _numbers(given: str | None) -> tuple[int, ...]:
    return () if given is None else parse_numbers(given)


def _say_listening(address: str) -> None:
    typer.echo(f"listening on {address}")
    sys.stdout.flush()
