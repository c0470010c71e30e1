"""Prefetching to a GPU: pinned buffers, a stream beside the one that computes, events, and graphs that read outputs.

Written without a GPU at hand and not yet run on one.
"""

from __future__ import annotations

import pytest
import torch

from engram_model import EngramState, Prefetcher, PrefetchSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
CYCLES = 50_000_000  # some tens of milliseconds of a GPU that does nothing


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def on_gpu(config, make_remote):
    """Layers on the GPU, their twins with a local table there, and a prefetcher."""

    def make(held=False, row_format="float32", **settings):
        remote = make_remote(config, held=held, row_format=row_format)
        for module in (*remote.modules.values(), *remote.local.values()):
            module.to("cuda")
        return remote, Prefetcher(remote.modules.values(), settings=PrefetchSettings(**settings))

    return make


def warm_up(remote, prefetcher, input_ids):
    """Take one call's rows: what runs for the first time may wait for the device."""
    pending = prefetcher.prefetch(input_ids)
    for layer, table in remote.tables.items():
        table.last.release()
        pending[layer].wait()
    torch.cuda.synchronize()


@pytest.mark.parametrize("deduplicate", ["always", "never"])
@pytest.mark.parametrize("hot_bytes", [0, 320])
@pytest.mark.parametrize("row_format", ["float32", "bfloat16"])
def test_layers_give_the_bits_of_local_tables_on_the_device(on_gpu, row_format, hot_bytes, deduplicate):
    remote, prefetcher = on_gpu(row_format=row_format, hot_bytes=hot_bytes, deduplicate=deduplicate)
    if hot_bytes:
        for table in remote.tables.values():
            table.version = "v1"
        prefetcher.hold_frequent_rows(torch.randint(0, 50, (2, 200)))
    states, own_states = ({layer: EngramState() for layer in remote.modules} for _ in range(2))

    for length in (7, 1, 1, 4):
        input_ids = torch.randint(0, 50, (2, length), device="cuda")
        hidden_states = torch.randn(2, length, 2, 8, device="cuda")
        pending = prefetcher.prefetch(input_ids, states=states)
        for layer, module in remote.modules.items():
            updated, _ = module(hidden_states, memory_embeddings=pending[layer], state=states[layer])
            own = remote.local[layer](hidden_states, input_ids, state=own_states[layer])
            assert torch.equal(updated, own[0])


def test_buffers_are_pinned(on_gpu, input_ids):
    remote, prefetcher = on_gpu(held=True)

    prefetcher.prefetch(input_ids)

    assert torch.from_numpy(remote.tables[0].last.out).is_pinned()


def test_a_copy_does_not_wait_for_what_the_device_is_doing(on_gpu, input_ids):
    remote, prefetcher = on_gpu(held=True)
    warm_up(remote, prefetcher, input_ids)
    pending = prefetcher.prefetch(input_ids)

    torch.cuda._sleep(CYCLES)
    busy = torch.cuda.current_stream().record_event()
    remote.tables[0].last.release()
    pending[0].wait()

    assert not busy.query()
    torch.cuda.synchronize()


def test_a_slot_rests_while_the_device_may_still_read_it(on_gpu, input_ids):
    remote, prefetcher = on_gpu(num_slots=2)
    warm_up(remote, prefetcher, input_ids)
    pending = prefetcher.prefetch(input_ids)

    torch.cuda._sleep(CYCLES)
    for layer in (0, 2):
        pending[layer].wait()
    in_use = prefetcher.stats().ring.in_use
    torch.cuda.synchronize()

    assert in_use == 2
    assert prefetcher.stats().ring.in_use == 0
    assert torch.equal(pending[2].wait(), remote.local[2].prefetch_embeddings(input_ids).wait())


def test_slots_are_used_again_and_again_behind_a_busy_device(on_gpu):
    remote, prefetcher = on_gpu(num_slots=2, slot_wait_seconds=30.0)
    results = []

    for _ in range(20):
        input_ids = torch.randint(0, 50, (2, 11))
        pending = prefetcher.prefetch(input_ids)
        torch.cuda._sleep(CYCLES // 20)
        results += [(layer, input_ids, pending[layer].wait().clone()) for layer in (0, 2)]

    for layer, input_ids, embeddings in results:
        assert torch.equal(embeddings, remote.local[layer].prefetch_embeddings(input_ids).wait())


def test_a_captured_graph_reads_what_the_latest_call_brought(on_gpu):
    remote, prefetcher = on_gpu(max_tokens=64)
    module, output = remote.modules[0], prefetcher.output(0, 2, 11)
    hidden_states = torch.randn(2, 11, 2, 8, device="cuda")
    output.zero_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        module(hidden_states, memory_embeddings=output)  # a warm-up, as capturing wants it
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        updated, _ = module(hidden_states, memory_embeddings=output)

    for _ in range(3):
        input_ids = torch.randint(0, 50, (2, 11), device="cuda")
        with prefetcher.prefetch(input_ids) as pending:
            pending[0].wait()
        graph.replay()

        assert torch.equal(updated, remote.local[0](hidden_states, input_ids)[0])
