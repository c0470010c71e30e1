"""What each worker of a node is given."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from store_server.cluster.cluster_config import ClusterConfig
from store_server.config import ServerConfig
from store_server.placement import Placement
from store_server.storage.data_root import Place, PlacedVersion
from store_server.workers.settings import WorkerSettings, divided

DESCRIPTORS = {"control_descriptor": 7, "memory_descriptor": 8, "marks_descriptor": 9, "metrics_descriptor": 10}


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
    quarantined = ((PlacedVersion("t", "0" * 32, Place(1, 2, 3)), "it ended two workers"),)
    settings = WorkerSettings(number=3, config=config, placement=placement, quarantined=quarantined, **DESCRIPTORS)

    assert WorkerSettings.from_argument(settings.to_argument()) == settings


def test_the_settings_of_a_cluster_survive_it_too_and_only_the_first_worker_speaks_for_the_node(tmp_path):
    cluster = ClusterConfig(
        url="etcds://etcd:2379/prod",
        node_id="memory-1",
        labels={"zone": "a"},
        ca_file=tmp_path / "ca",
        cert_file=tmp_path / "cert",
        key_file=tmp_path / "key",
    )
    configs = divided(ServerConfig(root=tmp_path, cluster=cluster), 3)
    settings = WorkerSettings(number=0, config=configs[0], placement=None, **DESCRIPTORS)

    assert [config.cluster.speaks_for_node for config in configs] == [True, False, False]
    assert WorkerSettings.from_argument(settings.to_argument()) == settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Settings that nobody has yet."""

    most_seconds: float = math.inf
    share_of: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigWithMore(ServerConfig):
    pace: Pace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsWithMore(WorkerSettings):
    config: ConfigWithMore


def test_settings_that_are_added_survive_it_without_a_line_for_them():
    pace = Pace(share_of={"a": 1}, files=(Path("/ü"), Path("/\udcff")), names=frozenset({"b", "a"}))
    config = ConfigWithMore(root=Path("/data"), pace=pace)
    settings = SettingsWithMore(number=0, config=config, placement=None, **DESCRIPTORS)

    assert SettingsWithMore.from_argument(settings.to_argument()) == settings
