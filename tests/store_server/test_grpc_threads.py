"""How gRPC's core is told to read sockets, in processes of their own: it asks the environment once."""

import os
import subprocess
import sys

START_GRPC = """
import os
from store_server.grpc_threads import poll_where_grpc_waits
poll_where_grpc_waits()
import grpc
grpc.insecure_channel("127.0.0.1:1").close()
print(os.environ["GRPC_EXPERIMENTS"])
"""


def start_grpc(**environment):
    inherited = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    command = [sys.executable, "-c", START_GRPC]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, timeout=60, check=True)


def test_grpc_knows_what_it_is_told():
    assert "experiment" not in start_grpc().stderr.lower()


def test_a_setting_of_the_operator_is_left_alone():
    assert start_grpc(GRPC_EXPERIMENTS="tcp_rcv_lowat").stdout.strip() == "tcp_rcv_lowat"
