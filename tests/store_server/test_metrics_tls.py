"""The port with the metrics is as safe as the others."""

import ssl
import urllib.error

import pytest
from cryptography import x509
from support.certificates import make_authority, make_certificate
from support.processes import node_process
from support.rows import random_rows
from support.scraping import scrape
from support.tables import write_table

from store_server.config import ServerConfig


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("metrics") / "root"
    write_table(root, "t", random_rows(100, 64))
    return root


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_node_with_a_certificate_shows_its_metrics_to_those_who_have_one_and_says_when_it_ends(
    root, tmp_path, workers
):
    authority = make_authority(tmp_path, "authority")
    served = make_certificate(tmp_path, "node", authority)
    client = make_certificate(tmp_path, "prometheus", authority)
    stranger = ssl.create_default_context(cafile=authority.cert)
    known = ssl.create_default_context(cafile=authority.cert)
    known.load_cert_chain(client.cert, client.key)
    options = ("--tls-cert", str(served.cert), "--tls-key", str(served.key), "--tls-client-ca", str(authority.cert))

    with node_process(root, "--workers", workers, *options, "--metrics-listen", "127.0.0.1:0") as node:
        with pytest.raises((OSError, urllib.error.URLError)):
            scrape(node)
        with pytest.raises((OSError, urllib.error.URLError)):
            scrape(node, stranger)

        shown = scrape(node, known)

    expiry = "engram_certificate_expiry_timestamp_seconds"
    ends = x509.load_pem_x509_certificate(served.cert.read_bytes()).not_valid_after_utc.timestamp()
    assert shown.total("engram_worker_up") == int(workers)
    assert {sample.value for sample in shown.where(expiry, file=str(served.cert))} == {ends}
    assert shown.labels("engram_credentials_reload_failures_total", "file") == {str(served.cert)}
    assert shown.total("engram_credentials_reload_failures_total") == 0
    assert {sample.value for sample in shown.where("engram_credentials_stale", file=str(served.cert))} == {0}


def test_metrics_go_beyond_this_host_in_plain_text_only_where_that_is_allowed(tmp_path):
    with pytest.raises(ValueError, match=r"0\.0\.0\.0:9464 can be reached from other hosts"):
        ServerConfig(root=tmp_path, metrics_listen="0.0.0.0:9464")

    assert ServerConfig(root=tmp_path, metrics_listen="0.0.0.0:9464", insecure=True).metrics_listen == "0.0.0.0:9464"
    assert ServerConfig(root=tmp_path, metrics_listen="127.0.0.1:9464").metrics_listen == "127.0.0.1:9464"


def test_metrics_are_shown_at_a_port(tmp_path):
    with pytest.raises(ValueError, match="metrics_listen must be HOST:PORT"):
        ServerConfig(root=tmp_path, metrics_listen="unix:///run/metrics")
