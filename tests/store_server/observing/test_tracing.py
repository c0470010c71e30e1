"""Traces from a client's fetch to a node's gather, sent to a collector that a test plays."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_store.v1 import lookup_service_pb2 as pb
from engram_store.v1 import lookup_service_pb2_grpc as stubs

ROWS = random_rows(1000, 64)


class Collector(otlp_grpc.TraceServiceServicer):
    """Keeps the spans that a node sends."""

    def __init__(self):
        self.spans = []

    def Export(self, request, _context):
        self.spans += [
            span for of_node in request.resource_spans for scope in of_node.scope_spans for span in scope.spans
        ]
        return otlp.ExportTraceServiceResponse()


@contextlib.contextmanager
def collector():
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait(5)


class TracedClient:
    """A tracer, and the spans that it made."""

    def __init__(self, **options):
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False, **options)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self._provider.get_tracer("test")

    @property
    def spans(self):
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("traced") / "root"
    write_table(root, "t", ROWS)
    return root


def spans_of_node(root, use, *options):
    """The spans that a node has sent by the time it has ended, after `use` of its address."""
    with collector() as (received, endpoint):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_INSECURE": "true"}
        with node_process(root, *options, environment=environment) as node:
            asyncio.run(use(node.address))
            assert node.stop() == 0
        return received.spans


def fetching(client, ids, **options):
    async def use(address):
        async with engram_client.connect(f"grpc://{address}", tracer=client.tracer, **options) as store:
            table = await store.table("t")
            with client.tracer.start_as_current_span("step"):
                pending = table.prefetch(ids)
            assert np.array_equal(await pending, ROWS[ids])

    return use


def test_a_prefetch_of_a_traced_step_is_followed_to_the_gather_of_the_node(root):
    client = TracedClient()

    lookup, gather = sorted(
        spans_of_node(root, fetching(client, [3, 1, 4]), "--trace", "otlp"), key=lambda span: span.name, reverse=True
    )

    step, fetch = client.spans["step"], client.spans["engram.fetch"]
    assert fetch.parent.span_id == step.context.span_id
    assert (lookup.name, gather.name) == ("engram.lookup", "engram.gather")
    assert int.from_bytes(lookup.parent_span_id) == fetch.context.span_id
    assert gather.parent_span_id == lookup.span_id
    assert {int.from_bytes(span.trace_id) for span in (lookup, gather)} == {step.context.trace_id}
    assert fetch.start_time <= lookup.start_time_unix_nano <= gather.start_time_unix_nano
    assert gather.end_time_unix_nano <= lookup.end_time_unix_nano <= fetch.end_time
    found = {each.key: each.value for each in lookup.attributes}
    assert (found["engram.table"].string_value, found["engram.rows"].int_value) == ("t", 3)
    assert found["engram.source"].string_value == "ram"


def test_each_piece_that_goes_by_a_cache_and_a_thread_of_its_own_is_part_of_the_fetch(root):
    client = TracedClient()

    async def use(address):
        def fetch():
            with (
                engram_client.connect_blocking(f"grpc://{address}", tracer=client.tracer, cache_bytes=1 << 20) as store,
                client.tracer.start_as_current_span("step"),
            ):
                store.table("t").fetch([3, 3, 1])

        await asyncio.to_thread(fetch)

    spans = spans_of_node(root, use, "--trace", "otlp")

    assert client.spans["engram.fetch"].parent.span_id == client.spans["step"].context.span_id
    assert [each.value.int_value for each in spans[-1].attributes if each.key == "engram.rows"] in ([2], [])
    assert len(spans) == 2


@pytest.mark.parametrize("options", [(), ("--trace", "otlp")])
def test_what_is_not_sampled_or_not_to_be_traced_has_no_spans_at_the_node(root, options):
    client = TracedClient(**({"sampler": ALWAYS_OFF} if options else {}))

    assert spans_of_node(root, fetching(client, [1, 2]), *options) == []


def test_a_lookup_that_is_refused_has_a_span_that_says_why(root):
    async def use(address):
        parent = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
        async with grpc.aio.insecure_channel(address) as channel:
            lookup = stubs.LookupServiceStub(channel).Lookup
            with pytest.raises(grpc.aio.AioRpcError):
                await lookup(pb.LookupRequest(table="t", rows=[10**6]), metadata=(("traceparent", parent),))
            await lookup(pb.LookupRequest(table="t", rows=[1]), metadata=(("traceparent", "no span at all"),))

    (span,) = spans_of_node(root, use, "--trace", "otlp")

    assert span.trace_id == bytes.fromhex("ab" * 16)
    assert span.parent_span_id == bytes.fromhex("cd" * 8)
    assert (span.status.code, span.status.message) == (2, "ROW_OUT_OF_RANGE")


def test_a_collector_that_is_not_there_holds_up_nobody(root):
    client = TracedClient()
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_INSECURE": "true"}
    with node_process(root, "--trace", "otlp", environment=environment) as node:
        asyncio.run(fetching(client, [1, 2])(node.address))

        assert node.stop() == 0
