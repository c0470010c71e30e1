"""Rows from a memory store give the very bits that a local table gives, or the table is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engram_client.errors import FingerprintMismatch
from engram_client.formats import encode
from engram_model import EngramModule, MemoryMismatch, UnidentifiedTable


@pytest.fixture
def pair(config, make_module, store_of):
    """A local module, one with the same weights and its rows in a store, and the store's table."""

    def make(row_format="float32", dtype=torch.float32):
        local = make_module(config, layer_id=2)
        table = store_of(local, row_format)
        remote = EngramModule(config, layer_id=2, memory=table)
        remote.load_state_dict({k: v for k, v in local.state_dict().items() if not k.startswith("memory.")})
        return local.to(dtype), remote.to(dtype), table

    return make


@pytest.mark.parametrize(
    ("row_format", "dtype"),
    [
        ("float32", torch.float32),
        ("float32", torch.float64),
        ("bfloat16", torch.float32),
        ("bfloat16", torch.bfloat16),
    ],
)
def test_a_remote_table_gives_the_bits_of_a_local_one(pair, hidden_states, input_ids, row_format, dtype):
    local, remote, _ = pair(row_format, dtype)
    hidden_states = hidden_states.to(dtype)

    expected, expected_gating = local(hidden_states, input_ids, return_gating=True)
    updated, gating = remote(hidden_states, input_ids, return_gating=True)

    assert updated.dtype == dtype
    assert torch.equal(updated, expected)
    assert torch.equal(gating, expected_gating)


def test_a_prefetch_gives_the_bits_of_a_direct_call(pair, hidden_states, input_ids):
    for module in pair()[:2]:
        direct, _ = module(hidden_states, input_ids)
        prefetched, _ = module(hidden_states, memory_embeddings=module.prefetch_embeddings(input_ids))

        assert torch.equal(prefetched, direct)


def test_a_prefetch_asks_at_once_and_waits_only_when_told(pair, input_ids):
    _, remote, table = pair()

    pending = remote.prefetch_embeddings(input_ids)
    asked = list(table.events)
    embeddings = pending.wait(timeout=1.5)

    assert asked == [("prefetch", 2)]
    assert table.events == [("prefetch", 2), ("wait", 2)]
    assert table.timeouts == [1.5]
    assert embeddings.shape == (2, 11, 16)
    assert pending.waited_seconds > 0


def test_rows_go_where_the_module_is_when_they_are_waited_for(pair, input_ids):
    _, remote, _ = pair("bfloat16")

    pending = remote.prefetch_embeddings(input_ids)
    remote.to(torch.float64)

    assert pending.wait().dtype == torch.float64
    remote.to("meta")
    assert pending.wait().device.type == "meta"


def test_rows_that_the_caller_fetched_give_the_bits_of_a_direct_call(pair, hidden_states, input_ids):
    local, remote, table = pair("bfloat16")
    rows = table.fetch(remote.row_ids(input_ids))
    rows.flags.writeable = False  # as a view of a received message is

    expected, _ = local(hidden_states, input_ids)

    assert torch.equal(remote(hidden_states, memory_embeddings=rows)[0], expected)
    assert torch.equal(remote(hidden_states, memory_embeddings=torch.from_numpy(rows.copy()))[0], expected)


def test_embeddings_as_a_tensor_give_the_bits_of_a_direct_call(pair, hidden_states, input_ids):
    local, remote, _ = pair()

    expected, _ = local(hidden_states, input_ids)

    embeddings = local.prefetch_embeddings(input_ids).wait()
    assert torch.equal(remote(hidden_states, memory_embeddings=embeddings)[0], expected)
    assert torch.equal(local(hidden_states, memory_embeddings=embeddings.double())[0], expected)


def test_float_rows_are_looked_at_and_not_copied(pair, input_ids):
    _, remote, table = pair()
    rows = table.fetch(remote.row_ids(input_ids))

    assert remote.memory.embed(rows).data_ptr() == rows.ctypes.data


def test_an_async_table_is_read_by_its_caller(config, pair, hidden_states, input_ids):
    _, _, table = pair()

    class AsyncTable(type(table)):
        async def fetch(self, ids):
            raise NotImplementedError

    module = EngramModule(config, layer_id=2, memory=AsyncTable(table.rows, "float32", table.fingerprint))
    rows = table.fetch(module.row_ids(input_ids))

    assert module(hidden_states, memory_embeddings=rows)[0].shape == hidden_states.shape
    with pytest.raises(TypeError, match=r"await table\.fetch\(module\.row_ids\(input_ids\)\)"):
        module(hidden_states, input_ids)


def test_a_table_of_another_hash_is_refused_with_both_fingerprints(config, pair):
    local, _, table = pair()
    ours, theirs = local.hasher.fingerprint(2), local.hasher.fingerprint(0)
    table.fingerprint = theirs

    with pytest.raises(FingerprintMismatch, match=f"hashes as {ours}, the table was made for {theirs}"):
        EngramModule(config, layer_id=2, memory=table)


def test_a_table_without_a_fingerprint_is_taken_with_a_warning_where_the_module_is_made(config, pair):
    _, _, table = pair()
    table.fingerprint = ""

    with pytest.warns(UnidentifiedTable, match="carries no fingerprint.* of layer 2, engram-v1:") as warned:
        module = EngramModule(config, layer_id=2, memory=table)

    assert module.memory.table is table
    assert [warning.filename for warning in warned] == [__file__]


def test_a_table_without_a_fingerprint_must_have_the_rows_all_the_same(config, pair):
    _, _, table = pair()
    table.fingerprint = ""
    table.num_rows += 1

    with pytest.raises(MemoryMismatch, match=f"reaches {table.num_rows - 1} rows, the table has {table.num_rows}"):
        EngramModule(config, layer_id=2, memory=table)


MOVES = [
    ({"fingerprint": "engram-v1:another"}, FingerprintMismatch, "the table was made for engram-v1:another"),
    ({"fingerprint": ""}, UnidentifiedTable, "carries no fingerprint"),
    ({"num_rows": 7}, MemoryMismatch, "the table has 7"),
    ({"row_bytes": 20}, MemoryMismatch, "hold 5 numbers"),
    ({"row_format": "float16"}, MemoryMismatch, "hold 8 numbers"),
]


@pytest.mark.parametrize(("moved", "error", "message"), MOVES)
def test_no_row_is_read_from_a_table_that_moved_to_a_version_that_does_not_fit(
    pair, hidden_states, input_ids, moved, error, message
):
    _, remote, table = pair()
    rows = table.fetch(remote.row_ids(input_ids))
    table.events.clear()

    for name, value in moved.items():
        setattr(table, name, value)

    for _ in range(2):
        with pytest.raises(error, match=message):
            remote(hidden_states, input_ids)
        with pytest.raises(error, match=message):
            remote.prefetch_embeddings(input_ids)
        with pytest.raises(error, match=message):
            remote(hidden_states, memory_embeddings=rows)
    assert table.events == []


@pytest.mark.parametrize(("moved", "error", "message"), MOVES[:3])
def test_nor_from_one_that_another_thread_moves_at_that_moment(pair, input_ids, moved, error, message):
    _, remote, table = pair()

    class MovedMeanwhile(type(table)):
        def prefetch(self, ids):
            for name, value in moved.items():
                setattr(self, name, value)
            return super().prefetch(ids)

    table.__class__ = MovedMeanwhile

    with pytest.raises(error, match=message):
        remote.prefetch_embeddings(input_ids)


def test_a_version_with_other_numbers_in_another_format_is_read_as_it_says(pair, hidden_states, input_ids):
    local, remote, table = pair("float32")
    before = remote.prefetch_embeddings(input_ids)
    expected, _ = local(hidden_states, input_ids)
    kept = table.rows

    table.rows, table.row_format, table.row_bytes = encode(table.rows.view(np.float32), "bfloat16"), "bfloat16", 8
    moved, _ = remote(hidden_states, input_ids)
    numbers = local.memory.table.weight.detach().bfloat16()
    table.rows = kept  # a fetch under way stays on its version

    assert torch.equal(remote(hidden_states, memory_embeddings=before)[0], expected)
    with torch.no_grad():
        local.memory.table.weight.copy_(numbers)
    assert torch.equal(moved, local(hidden_states, input_ids)[0])


def test_a_table_of_another_length_is_refused_with_both(config, pair):
    local, _, table = pair()
    table.num_rows += 1

    with pytest.raises(MemoryMismatch, match=f"reaches {table.num_rows - 1} rows, the table has {table.num_rows}"):
        EngramModule(config, layer_id=2, memory=table)
    assert local.hasher.num_rows[2] == table.num_rows - 1


def test_a_padded_table_is_taken_if_the_configuration_says_so(config, make_module, store_of, hidden_states, input_ids):
    padded = replace(config, row_multiple=128)
    local = make_module(padded)
    table = store_of(local)

    remote = EngramModule(padded, memory=table)
    remote.load_state_dict({k: v for k, v in local.state_dict().items() if not k.startswith("memory.")})

    assert local.hasher.num_rows[0] < table.num_rows == len(local.memory.table.weight) == 128
    assert torch.equal(remote(hidden_states, input_ids)[0], local(hidden_states, input_ids)[0])
    with pytest.raises(MemoryMismatch, match="the hash reaches 60 rows, the table has 128"):
        EngramModule(config, memory=table)
    table.num_rows = 60
    with pytest.raises(MemoryMismatch, match="the hash reaches 60 rows, padded to 128, the table has 60"):
        EngramModule(padded, memory=table)


@pytest.mark.parametrize(
    ("row_bytes", "row_format", "message"),
    [
        (20, "float32", "embedding_dim is 4, the table's rows of 20 bytes in the format 'float32' hold 5 numbers"),
        (16, "bfloat16", "embedding_dim is 4, the table's rows of 16 bytes in the format 'bfloat16' hold 8 numbers"),
        (17, "float32", "rows of 17 bytes in the format 'float32' cannot be decoded"),
        (16, "runes", "rows of 16 bytes in the format 'runes' cannot be decoded"),
    ],
)
def test_rows_of_another_width_or_format_are_refused(config, pair, row_bytes, row_format, message):
    _, _, table = pair()
    table.row_bytes, table.row_format = row_bytes, row_format

    with pytest.raises(MemoryMismatch, match=message):
        EngramModule(config, layer_id=2, memory=table)


def test_a_failed_fetch_fails_the_call_and_not_the_prefetch(pair, hidden_states, input_ids):
    _, remote, table = pair()
    table.rows = np.empty((0, 16), dtype=np.uint8)

    pending = remote.prefetch_embeddings(input_ids)

    with pytest.raises(IndexError):
        remote(hidden_states, memory_embeddings=pending)
