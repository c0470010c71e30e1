"""gRPC ignores options whose names it does not know, so a misspelt one would never be noticed."""

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from engram_client.grpc_channel import CHANNEL_OPTIONS
from store_server.limits.limits import Limits
from store_server.node_port import GRPC_OPTIONS


@pytest.fixture(scope="module")
def library():
    return Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize("name", [name for name, _ in (*GRPC_OPTIONS, *Limits().grpc_options(), *CHANNEL_OPTIONS)])
def test_the_name_of_every_option_is_one_that_grpc_reads(library, name):
    assert name.encode() + b"\0" in library


def test_a_client_may_ping_as_often_as_ours_does():
    allowed = dict(GRPC_OPTIONS)["grpc.http2.min_ping_interval_without_data_ms"]

    assert allowed < dict(CHANNEL_OPTIONS)["grpc.keepalive_time_ms"]
