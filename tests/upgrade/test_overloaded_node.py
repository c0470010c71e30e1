"""A client of the last release at a node of this one that has too much to do: it backs off, and gets its rows."""

import asyncio
import time

import pytest
from support.hooked_root import ColdBackend, HookedRoot, node_on
from support.tables import write_table
from upgrade.client import ROWS, TABLE
from upgrade.releases import last_release, this_release
from upgrade.rolling import Pace, go_on, loads

from store_server.limits.limits import Limits

MOST_QUEUED = 4  # the clients ask for more than that at once
DISK_SECONDS = 0.005


def cold(open_backend, name, version, **options):
    return ColdBackend(open_backend(name, version, **options), lambda _: time.sleep(DISK_SECONDS))


@pytest.mark.parametrize("is_last", [True, False], ids=["last release", "this release"])
async def test_a_client_that_is_refused_by_an_overloaded_node_tries_again(tmp_path, is_last):
    release = last_release(tmp_path / "last") if is_last else this_release()
    root = tmp_path / "root"
    write_table(root, TABLE, ROWS)

    async with node_on(HookedRoot(root, cold), limits=Limits(max_queued=MOST_QUEUED)) as node:
        seen = await asyncio.to_thread(fetched, release, f"grpc://{node.address}")
        refused = node.metrics.lookups.failures["OVERLOADED"]

    assert seen.is_right, seen
    assert refused


def fetched(release, url):
    """What a client of a release sees until it has done each of its habits a few times."""
    with loads((release,), url, Pace(fetches_between=3)) as (client,):
        go_on([client])
        return client.end()
