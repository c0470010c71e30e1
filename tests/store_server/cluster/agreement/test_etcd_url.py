"""How a cluster in etcd is named, and how a node gets in."""

import re

import pytest

from store_server.cluster.agreement.etcd_access import EtcdAccess, EtcdRefused
from store_server.cluster.agreement.etcd_url import EtcdUrl
from store_server.cluster.agreement.meeting_point import meeting_point_at
from store_server.cluster.cluster_config import ClusterConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("etcd://h:2379/prod", EtcdUrl(endpoints=("h:2379",), name="prod")),
        ("etcds://h:1,[::1]:2/a.b", EtcdUrl(endpoints=("h:1", "[::1]:2"), name="a.b", with_tls=True)),
        ("etcd://me%40home@10.0.0.1:1/c", EtcdUrl(endpoints=("10.0.0.1:1",), name="c", user="me@home")),
    ],
)
def test_a_cluster_in_etcd_is_named_by_a_url(text, expected):
    assert EtcdUrl.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["etcd://h/prod", "etcd://h:1", "etcd://h:1/", "etcd://h:1,/c", "etcd://h:1/a/b", "http://h:1/c", ""]
)
def test_any_other_url_is_refused(text):
    with pytest.raises(ValueError, match=re.escape("HOST:PORT]/NAME, etcds:// with TLS") + ".*got"):
        EtcdUrl.parse(text)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="a password does not belong there") as caught:
        EtcdUrl.parse("etcd://me:secret@h:1/c")

    assert "secret" not in str(caught.value)


def test_a_url_of_no_kind_that_is_known_is_refused():
    for given, shown in (("redis://h:1/c", "redis://h:1/c"), ("h:1/c", "h:1/c"), ("me:secret@h:1/c", "...@h:1/c")):
        with pytest.raises(ValueError, match="a cluster is at file:///PATH, ") as caught:
            meeting_point_at(ClusterConfig(url=given, node_id="a"))
        assert str(caught.value).endswith(f"got {shown!r}")


def test_the_keys_of_two_clusters_are_apart():
    url = EtcdUrl.parse("etcd://h:1/prod")

    assert (url.map_key, url.nodes_prefix) == (b"/engram/prod/map", b"/engram/prod/nodes/")


def test_a_password_comes_from_its_file_or_from_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "password"
    file.write_text("of the file\n")
    monkeypatch.setenv("ETCD_PASSWORD", "of the environment")

    assert EtcdAccess(password_file=file).password() == "of the file"
    assert EtcdAccess().password() == "of the environment"

    monkeypatch.delenv("ETCD_PASSWORD")
    with pytest.raises(EtcdRefused, match="give a file of it, or ETCD_PASSWORD in the environment"):
        EtcdAccess().password()
    with pytest.raises(EtcdRefused, match="missing cannot be read: No such file"):
        EtcdAccess(password_file=tmp_path / "missing").password()
