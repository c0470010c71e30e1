"""The id of the cluster that a data root belongs to: kept, and believed only if it is one."""

import pytest
from structlog.testing import capture_logs

from store_server.cluster.kept_cluster_id import KeptClusterId


def test_an_id_is_known_after_a_restart_to_every_process_of_the_node(tmp_path):
    assert KeptClusterId(tmp_path).value == ""

    KeptClusterId(tmp_path).take("0f" * 16)

    assert KeptClusterId(tmp_path).value == KeptClusterId(tmp_path, is_kept=False).value == "0f" * 16
    assert (tmp_path / "cluster" / "id").read_text() == "0f" * 16 + "\n"


def test_one_process_of_several_keeps_it(tmp_path):
    other = KeptClusterId(tmp_path, is_kept=False)

    other.take("a")

    assert (other.value, KeptClusterId(tmp_path).value) == ("a", "")


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"two words", b"a" * 101, b"\n" * 5000])
def test_a_file_that_holds_no_id_is_named_and_then_replaced(tmp_path, damaged):
    KeptClusterId(tmp_path).take("a")
    (tmp_path / "cluster" / "id").write_bytes(damaged)

    with capture_logs() as logs:
        kept = KeptClusterId(tmp_path)

    assert kept.value == ""
    assert [log["event"] for log in logs] == ["the id of the cluster cannot be read"]
    assert logs[0]["path"] == str(tmp_path / "cluster" / "id")
    kept.take("b")
    assert KeptClusterId(tmp_path).value == "b"


def test_an_id_that_cannot_be_kept_is_taken_all_the_same(tmp_path):
    (tmp_path / "cluster").write_text("no directory")

    with capture_logs() as logs:
        kept = KeptClusterId(tmp_path)
        kept.take("a")

    assert kept.value == "a"
    assert [log["event"] for log in logs][-1] == "the id of the cluster cannot be kept"
