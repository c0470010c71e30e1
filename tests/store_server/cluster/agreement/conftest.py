"""An etcd for the tests of a module, and in it a cluster for each test."""

import pytest
from support.etcd import running_etcd

from store_server.cluster.agreement.etcd_url import EtcdUrl


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with running_etcd(tmp_path_factory.mktemp("etcd") / "data") as etcd:
        yield etcd


@pytest.fixture
def url(etcd, request):
    """A cluster of its own for each test."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:90]
    return EtcdUrl(endpoints=(etcd.endpoint,), name=name)
