"""The handles of a set move together, or stay where they are together."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import engram_client
from engram_client import errors
from engram_client.store import Store
from engram_client.table_info import TableInfo


def info(name, version, *, fingerprint="f", table_set="model"):
    return TableInfo(
        name=name,
        version=version,
        num_rows=10,
        row_bytes=8,
        row_format="",
        fingerprint=fingerprint,
        backend="cluster",
        max_rows_per_lookup=100,
        table_set=table_set,
    )


class Descriptions:
    """A transport that has nothing but descriptions."""

    def __init__(self, *infos):
        self.infos = list(infos)

    async def list_tables(self, _timeout):
        return self.infos


async def open_set(*infos, fingerprints=None):
    transport = Descriptions(*infos)
    return transport, await Store(transport, 1.0).table_set("model", fingerprints)


async def test_all_handles_move_together():
    transport, layers = await open_set(info("a", "v1"), info("b", "v1"), info("c", "v1", table_set="other"))
    handles = [layers["a"], layers["b"]]
    transport.infos = [info("a", "v2"), info("b", "v3")]

    await layers.refresh()

    assert [table.version for table in handles] == ["v2", "v3"]
    assert layers.versions == {"a": "v2", "b": "v3"}


def test_other_threads_see_all_handles_move_or_none():
    def infos(version):
        return [info(f"t{number}", version) for number in range(100)]

    seen = set()
    transport = Descriptions(*infos("v0"))
    usual_seconds = sys.getswitchinterval()
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as other_thread:
        layers = runner.run(Store(transport, 1.0).table_set("model"))
        all_moved = threading.Event()

        def watch():
            while not all_moved.is_set():
                seen.add(frozenset(layers.versions.values()))

        sys.setswitchinterval(1e-6)
        try:
            watching = other_thread.submit(watch)
            for number in range(300):
                transport.infos = infos(f"v{number}")
                runner.run(layers.refresh())
        finally:
            all_moved.set()
            sys.setswitchinterval(usual_seconds)
        watching.result()

    assert {len(versions) for versions in seen} == {1}


@pytest.mark.parametrize(
    ("now", "error"),
    [
        ([info("a", "v2"), info("b", "v2", fingerprint="g")], errors.FingerprintMismatch),
        ([info("a", "v2")], errors.TableNotFound),
        ([], errors.TableSetNotFound),
    ],
)
async def test_if_one_cannot_move_none_does(now, error):
    transport, layers = await open_set(info("a", "v1"), info("b", "v1"), fingerprints={"a": "f", "b": "f"})
    transport.infos = now

    with pytest.raises(error):
        await layers.refresh()

    assert layers.versions == {"a": "v1", "b": "v1"}


async def test_a_store_without_sets_says_so():
    with pytest.raises(errors.TableSetNotFound, match="no set 'model'; the store has no sets"):
        await open_set(info("a", "v1", table_set=""))
    assert issubclass(engram_client.TableSetNotFound, LookupError)
