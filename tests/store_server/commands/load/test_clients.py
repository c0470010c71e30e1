"""The processes of a load, seen from the command."""

import multiprocessing

import numpy as np
import pytest
from support.tables import write_table

from store_server.commands.failure import CommandFailed
from store_server.commands.load.arrivals import Spacing
from store_server.commands.load.clients import Clients
from store_server.commands.load.job import Run
from store_server.commands.load.prepare import Request, prepare_job
from store_server.storage.fills import index_rows


class Unwatched:
    """Shows nothing."""

    def see(self, *_):
        pass

    def show(self):
        pass


class Interrupting:
    """Kills the client process, and then Ctrl-C is pressed."""

    def see(self, *_):
        pass

    def show(self):
        kill_clients()
        raise KeyboardInterrupt


def kill_clients():
    for process in multiprocessing.active_children():
        process.kill()
        process.join(60)


@pytest.fixture
def clients(tmp_path):
    write_table(tmp_path / "root", "t", index_rows(np.arange(100), 8))
    request = Request(
        url=f"file://{tmp_path / 'root'}",
        table="t",
        rows_per_fetch=10,
        max_in_flight=1,
        processes=1,
        timeout_seconds=60.0,
        seed=1,
        zipf=None,
        replay=None,
        check=None,
        root=None,
    )
    with Clients(prepare_job(request)) as clients:
        yield clients


@pytest.fixture
def run():
    return Run(rate=10.0, spacing=Spacing.constant, warm_up_seconds=0.0, duration_seconds=60.0)


def test_a_client_process_that_died_before_its_order_is_told_of(clients, run):
    kill_clients()

    with pytest.raises(CommandFailed, match="a client process ended by itself, exit code -9"):
        clients.run(run, Unwatched())


def test_a_client_process_that_died_before_it_is_told_to_stop_is_told_of(clients, run):
    with pytest.raises(CommandFailed, match="a client process ended by itself, exit code -9"):
        clients.run(run, Interrupting())
