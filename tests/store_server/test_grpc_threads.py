"""How gRPC's core is told to read sockets, in processes of their own: it asks the environment once."""

import os
import subprocess
import sys

# gRPC asks when it is imported, so the command line must not do that before.
START_GRPC = """
import os, sys
from store_server.entry_point import main
assert "grpc" not in sys.modules
sys.argv = ["engram-store", "tables", "/no/such/root"]
main()
import grpc
grpc.insecure_channel("127.0.0.1:1").close()
print(os.environ["GRPC_EXPERIMENTS"])
"""


def start_grpc(**environment):
    inherited = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    command = [sys.executable, "-c", START_GRPC]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, timeout=60, check=True)


def test_grpc_is_told_and_knows_what_it_is_told():
    started = start_grpc()

    assert started.stdout.strip() == "-event_engine_client,-event_engine_listener"
    assert "experiment" not in started.stderr.lower()


def test_a_setting_of_the_operator_is_left_alone():
    assert start_grpc(GRPC_EXPERIMENTS="tcp_rcv_lowat").stdout.strip() == "tcp_rcv_lowat"
