"""The metrics of a node beside what it was asked: the figures are exactly those of the requests."""

import contextlib
import time
from importlib import metadata

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.cold_pages import forget_pages
from support.processes import node_process
from support.rows import random_rows
from support.scraping import scrape
from support.tables import write_table

import engram_client
from engram_store.v1.lookup_service_pb2 import LookupRequest, LookupStreamRequest
from engram_store.v1.lookup_service_pb2_grpc import LookupServiceStub

HELD, MAPPED = random_rows(1000, 64), random_rows(5000, 24)
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("metrics") / "root"
    write_table(root, "held", HELD)
    write_table(root, "mapped", MAPPED)
    return root


@pytest.fixture
def node(root):
    with node_process(root, "--in-memory", "held", "--metrics-listen", "127.0.0.1:0") as node:
        yield node


@contextlib.contextmanager
def lookups_of(node):
    with grpc.insecure_channel(node.address) as channel:
        yield LookupServiceStub(channel)


def refused(stub, table, rows=(0,)):
    with pytest.raises(grpc.RpcError) as failed:
        stub.Lookup(LookupRequest(table=table, rows=rows), timeout=PATIENCE_SECONDS)
    return failed.value.code().name


def test_rows_and_bytes_are_counted_by_table_and_calls_by_outcome(node):
    with lookups_of(node) as stub:
        for _ in range(3):
            stub.Lookup(LookupRequest(table="held", rows=[1, 2, 2]), timeout=PATIENCE_SECONDS)
        assert refused(stub, "held", [1000]) == "OUT_OF_RANGE"

        shown = scrape(node)

    of_lookup = {"grpc_service": "engram_store.v1.LookupService", "grpc_method": "Lookup", "grpc_type": "unary"}
    assert shown.total("engram_rows_total", table="held") == 9
    assert shown.total("engram_row_bytes_total", table="held") == 9 * 64
    assert shown.total("engram_lookups_total", table="held", source="ram") == 3
    assert shown.total("engram_lookup_seconds_count") == 3
    assert shown.total("engram_lookup_failures_total", reason="ROW_OUT_OF_RANGE") == 1
    assert shown.total("engram_lookup_failures_total") == 1
    assert shown.total("grpc_server_started_total", **of_lookup) == 4
    assert shown.total("grpc_server_handled_total", **of_lookup, grpc_code="OK") == 3
    assert shown.total("grpc_server_handled_total", **of_lookup, grpc_code="OUT_OF_RANGE") == 1
    assert shown.total("grpc_server_handling_seconds_count", **of_lookup) == 4
    assert shown.total("grpc_server_msg_received_total", **of_lookup) == 4
    assert shown.total("grpc_server_msg_sent_total", **of_lookup) == 3


def test_lookups_on_a_stream_are_counted_each_and_their_messages_as_messages(node):
    def asked():
        several = LookupStreamRequest(id=2, table="mapped", rows=[4])
        yield LookupStreamRequest(id=1, table="held", rows=[1, 2], more=[several])
        yield LookupStreamRequest(id=3, table="held", rows=[5000])

    with lookups_of(node) as stub:
        replies = list(stub.LookupStream(asked(), timeout=PATIENCE_SECONDS))

        shown = scrape(node)

    assert len(replies) in (2, 3)  # of the two lookups together, one may have had to wait for a disk
    of_stream = {"grpc_method": "LookupStream", "grpc_type": "bidi_stream"}
    assert shown.total("engram_rows_total", table="held") == 2
    assert shown.total("engram_rows_total", table="mapped") == 1
    assert shown.total("engram_lookups_total") == 2
    assert shown.total("engram_lookup_seconds_count") == 3
    assert shown.total("engram_lookup_failures_total", reason="ROW_OUT_OF_RANGE") == 1
    assert shown.total("grpc_server_msg_received_total", **of_stream) == 2
    assert shown.total("grpc_server_msg_sent_total", **of_stream) == len(replies)
    assert shown.total("grpc_server_handled_total", **of_stream, grpc_code="OK") == 1


def test_calls_of_the_standard_services_are_counted_like_ours(node):
    with grpc.insecure_channel(node.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(2):
            health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
        next(health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS))
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")] * 3)
        list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked, timeout=PATIENCE_SECONDS))

        shown = scrape(node)

    of_health, of_reflection = (
        {"grpc_service": service} for service in ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
    )
    assert shown.total("grpc_server_handled_total", **of_health, grpc_method="Check", grpc_code="OK") == 2
    assert shown.total("grpc_server_started_total", **of_health, grpc_type="server_stream") == 1
    assert shown.total("grpc_server_handled_total", **of_health, grpc_method="Watch", grpc_code="OK") == 0
    assert shown.total("grpc_server_handled_total", **of_reflection, grpc_type="bidi_stream", grpc_code="OK") == 1
    assert shown.total("grpc_server_msg_received_total", **of_reflection) == 3
    assert shown.total("grpc_server_msg_sent_total", **of_reflection) == 3


def test_every_lookup_is_in_one_bucket_and_the_last_bucket_has_all(node):
    with engram_client.connect_blocking(node.url, timeout=PATIENCE_SECONDS) as store:
        tables = [store.table("held"), store.table("mapped")]
        began = time.monotonic()
        for number in range(200):
            tables[number % 2].fetch(np.arange(number + 1))
        seconds = time.monotonic() - began

        shown = scrape(node)

    assert shown.total("engram_lookups_total") == 200
    assert shown.total("engram_rows_total") == 200 * 201 / 2
    assert shown.total("engram_lookup_seconds_count") == 200
    assert 0 < shown.total("engram_lookup_seconds_sum") < seconds
    for source in ("ram", "disk"):
        buckets = [sample.value for sample in shown.where("engram_lookup_seconds_bucket", source=source)]
        assert buckets == sorted(buckets)
        assert buckets[-1] == shown.total("engram_lookup_seconds_count", source=source)
        assert buckets[-1] == shown.total("engram_lookups_total", source=source)


def test_rows_that_were_not_known_to_be_in_ram_count_as_from_disk(root):
    write_table(root, "cold", MAPPED)
    if forget_pages(root, "cold") > 0:
        pytest.skip("the page cache keeps the table")
    with (
        node_process(root, "--metrics-listen", "127.0.0.1:0", "--memory-budget", "16MiB") as node,
        engram_client.connect_blocking(node.url, timeout=PATIENCE_SECONDS) as store,
    ):
        before = scrape(node).total("engram_table_resident_bytes", table="cold")
        assert np.array_equal(store.table("cold").fetch([7, 8]), MAPPED[[7, 8]])

        shown = scrape(node)

    assert before == 0
    assert shown.total("engram_lookups_total", table="cold", source="disk") == 1
    assert shown.total("engram_rows_total", table="cold") == 2
    assert shown.total("engram_row_bytes_total", table="cold") == 48
    assert shown.total("engram_table_resident_bytes", table="cold") > 0


def test_names_that_callers_make_up_make_no_series(node):
    before = len(scrape(node).samples)
    with lookups_of(node) as stub:
        for number in range(20):
            assert refused(stub, f"made-up-{number}") == "NOT_FOUND"
    with grpc.insecure_channel(node.address) as channel, pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
        channel.unary_unary("/engram_store.v1.LookupService/MadeUp")(b"", timeout=PATIENCE_SECONDS)

    shown = scrape(node)

    assert shown.total("engram_lookup_failures_total", reason="TABLE_NOT_FOUND") == 20
    assert not any("made" in value.lower() for sample in shown.samples for value in sample.labels.values())
    of_lookup = [sample for sample in shown.samples if sample.labels.get("grpc_method") == "Lookup"]
    assert len(shown.samples) == before + len(of_lookup)


def test_the_state_of_the_node_and_of_its_tables_is_shown(node, root):
    shown = scrape(node)

    assert {sample.labels["worker"] for sample in shown.samples} == {"0"}
    assert shown.total("engram_worker_up") == 1
    assert shown.total("engram_node_ready") == 1
    assert shown.total("engram_draining") == 0
    assert shown.total("engram_table_served", table="held") == 1
    assert shown.total("engram_table_rows", table="mapped") == 5000
    assert shown.total("engram_table_bytes", table="mapped") == 5000 * 24
    assert shown.total("engram_table_resident_bytes", table="held") == HELD.nbytes
    age = time.time() - shown.total("engram_table_version_timestamp_seconds", table="held")
    assert 0 < age < 3600
    assert 0 < shown.total("engram_root_free_bytes") < shown.total("engram_root_bytes")
    assert shown.total("engram_root_writable") == 1
    assert shown.total("engram_build_info", version=metadata.version("engram-store")) == 1
    assert shown.total("engram_in_flight_bytes") == 0
    assert shown.total("engram_in_flight_limit_bytes") == 512 << 20
    assert shown.total("process_resident_memory_bytes") > 10 << 20
