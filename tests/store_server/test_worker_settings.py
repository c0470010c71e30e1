"""What each worker of a node is given."""

import pytest

from store_server.config import ServerConfig
from store_server.placement import Placement
from store_server.workers.settings import WorkerSettings, divided


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:50051", ["127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053"]),
        ("[::1]:0", ["[::1]:0", "[::1]:0", "[::1]:0"]),
        ("unix:///run/node.sock", ["unix:///run/node.sock", "unix:///run/node.sock.1", "unix:///run/node.sock.2"]),
    ],
)
def test_workers_listen_side_by_side(tmp_path, listen, expected):
    assert [config.listen for config in divided(ServerConfig(root=tmp_path, listen=listen), 3)] == expected


def test_workers_divide_the_memory_budget(tmp_path):
    configs = divided(ServerConfig(root=tmp_path, memory_budget_bytes=96 << 20), 3)

    assert [config.memory_budget_bytes for config in configs] == [32 << 20] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"listen": "127.0.0.1:65534"}, "worker 2 would listen on port 65536, above 65535"),
        ({"memory_budget_bytes": 32 << 20}, "for 3 workers must be at least 50,331,648 bytes, got 33,554,432"),
    ],
)
def test_what_cannot_be_divided_is_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        divided(ServerConfig(root=tmp_path, **settings), 3)


@pytest.mark.parametrize("placement", [None, Placement(cores=(1, 2)), Placement(cores=(0,), numa_node=1)])
def test_settings_survive_the_way_to_the_worker(tmp_path, placement):
    config = ServerConfig(root=tmp_path / "ü", in_memory=frozenset({"b", "a"}), memory_budget_bytes=32 << 20)
    settings = WorkerSettings(number=3, config=config, placement=placement, control_descriptor=7, memory_descriptor=8)

    assert WorkerSettings.from_argument(settings.to_argument()) == settings
