"""An etcd that speaks TLS and wants to see a certificate."""

import pytest
from support.certificates import make_authority, make_certificate
from support.etcd import needs_etcd, running_etcd
from support.shard_maps import shard_map_of

from store_server.cluster.agreement.etcd_access import EtcdAccess, EtcdAway, EtcdRefused
from store_server.cluster.agreement.etcd_connection import EtcdConnection
from store_server.cluster.agreement.etcd_map_source import EtcdMapSource
from store_server.cluster.agreement.etcd_url import EtcdUrl

pytestmark = needs_etcd


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return make_authority(folder, "authority")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory, folder, authority):
    own = make_certificate(folder, "etcd", authority)
    options = (f"--cert-file={own.cert}", f"--key-file={own.key}", f"--trusted-ca-file={authority.cert}")
    data = tmp_path_factory.mktemp("etcd") / "data"
    with running_etcd(data, *options, "--client-cert-auth", scheme="https") as etcd:
        yield etcd


async def swap(etcd, access):
    url = EtcdUrl.parse(f"etcds://{etcd.endpoint}/prod")
    connection = EtcdConnection(url, access, call_seconds=2)
    try:
        return await EtcdMapSource(connection, url).compare_and_swap(0, shard_map_of())
    finally:
        await connection.close()


async def test_a_node_with_a_certificate_of_the_authority_is_let_in(etcd, folder, authority):
    own = make_certificate(folder, "node", authority)

    assert await swap(etcd, EtcdAccess(ca_file=authority.cert, cert_file=own.cert, key_file=own.key))


async def test_a_node_without_a_certificate_is_not(etcd, authority):
    with pytest.raises(EtcdAway, match="does not answer"):
        await swap(etcd, EtcdAccess(ca_file=authority.cert))


async def test_an_etcd_of_another_authority_is_not_spoken_to(etcd, folder, authority):
    own = make_certificate(folder, "node", authority)
    other = make_authority(folder, "other")

    with pytest.raises(EtcdAway, match=r"does not answer: .*(CERTIFICATE|certificate)"):
        await swap(etcd, EtcdAccess(ca_file=other.cert, cert_file=own.cert, key_file=own.key))


async def test_a_file_that_is_not_there_is_named(etcd, folder):
    with pytest.raises(EtcdRefused, match=r"etcd: .*missing\.pem cannot be read: No such file or directory"):
        await swap(etcd, EtcdAccess(ca_file=folder / "missing.pem"))
