"""A node that loads its tables, which may take minutes, is seen to do so."""

import asyncio
import os
import re
import signal
import urllib.request
from functools import partial

import pytest
from support.never_opens import WORKER, node_that_never_opens
from support.rows import random_rows
from support.scraping import Scrape
from support.tables import write_table

from store_server.config import ServerConfig
from store_server.workers.process import WorkerProcess
from store_server.workers.settings import divided
from store_server.workers.supervisor import Supervisor
from store_server.workers.worker_metrics import WorkerMetrics

PATIENCE_SECONDS = 30


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", random_rows(100, 16))
    return tmp_path / "root"


def test_a_node_that_loads_its_tables_shows_that_it_is_not_ready(root):
    with node_that_never_opens(root) as node:
        line = next(line for line in node.stderr if "metrics are shown" in line)
        address = re.search(r"address='([^']+)'", line)[1]

        with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_SECONDS) as response:
            shown = Scrape.of(response.read().decode())

        node.send_signal(signal.SIGTERM)
        assert node.wait(PATIENCE_SECONDS) == 0
    assert [sample.value for sample in shown.where("engram_node_ready")] == [0]
    assert shown.total("engram_worker_up") == 1
    assert shown.total("engram_build_info") == 1


async def test_workers_that_load_their_tables_show_that_they_are_not_ready(root):
    configs = divided(ServerConfig(root=root, listen="127.0.0.1:0"), 2)
    supervisor = Supervisor(configs, [None] * 2, start=partial(WorkerProcess.start, program=WORKER))
    running = asyncio.create_task(supervisor.run(lambda _: None))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            shown = Scrape([])
            while shown.total("engram_worker_up") < 2:  # as long as the processes begin
                shown = Scrape.of((await WorkerMetrics(supervisor).gather()).decode())
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await running

    assert [sample.value for sample in shown.where("engram_node_ready")] == [0, 0]
