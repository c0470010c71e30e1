"""What systemd hears of a node, on a socket as it opens one."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest
from support.rows import random_rows
from support.tables import write_table

from store_server.notify import ServiceManager

LIMIT_SECONDS = 60.0


@pytest.fixture(params=["a file", "no file"])
def systemd(request, tmp_path):
    """A socket that hears messages, at a path or under a name without one; `.address` is as in NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "a file" else f"@engram-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0"))
        listener.settimeout(LIMIT_SECONDS)
        yield listener, name


def heard(listener):
    return listener.recv(4096).decode().splitlines()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_node_says_when_it_is_ready_that_it_lives_and_that_it_stops(systemd, tmp_path, workers):
    listener, address = systemd
    write_table(tmp_path / "root", "layer-1", random_rows(100, 64))
    command = [sys.executable, "-m", "store_server", "serve", str(tmp_path / "root"), "--listen", "127.0.0.1:0"]
    told = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}

    with subprocess.Popen([*command, "--workers", workers], stdout=subprocess.PIPE, text=True, env=told) as node:
        ready = heard(listener)
        line = node.stdout.readline().strip()
        alive = [heard(listener) for _ in range(3)]
        node.terminate()
        while "STOPPING=1" not in (last := heard(listener)):
            assert last == ["WATCHDOG=1"]

    assert ready == ["READY=1", f"STATUS={line}"]
    assert alive == [["WATCHDOG=1"]] * 3
    assert last == ["STOPPING=1", "STATUS=draining"]
    assert node.returncode == 0


def test_nobody_is_told_where_nobody_asked():
    manager = ServiceManager.of({"WATCHDOG_USEC": "1000000"})

    manager.ready("listening")  # with no event loop at hand, whose life there would be signs of
    manager.stopping()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_sent_if_they_are_expected_of_this_process(environment, seconds):
    assert ServiceManager.of(environment).watchdog_seconds == seconds


async def test_a_node_lives_on_where_its_messages_cannot_go(tmp_path):
    manager = ServiceManager(address=str(tmp_path / "gone"), watchdog_seconds=30.0)

    manager.ready("listening")
    manager.stopping()

    assert asyncio.get_running_loop().is_running()
