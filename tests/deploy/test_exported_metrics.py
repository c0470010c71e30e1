"""What alerts and dashboard may ask for is shown by nodes that run."""

import re
import ssl
import urllib.request
from pathlib import Path

import pytest
from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk
from support.processes import node_process
from support.rows import random_rows
from support.scraping import SCRAPE_SECONDS, metrics_address
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import write_shard_map

EXPORTED = Path(__file__).parents[2] / "deploy" / "check" / "exported_metrics.txt"
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
OF_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Options of a node that has everything of which there is something to show."""
    folder = tmp_path_factory.mktemp("node")
    authority = make_authority(folder, "authority")
    own = make_certificate(folder, "node", authority)
    CredentialsOnDisk(folder / "tokens.toml").add("somebody")
    (folder / "map.json").write_text(write_shard_map(shard_map_of()))
    write_table(folder / "root", "layer-1", random_rows(100, 16))
    return folder / "root", {
        "--tls-cert": own.cert,
        "--tls-key": own.key,
        "--tls-client-ca": authority.cert,
        "--node-ca": authority.cert,
        "--node-cert": own.cert,
        "--node-key": own.key,
        "--tokens": folder / "tokens.toml",
        "--audit-log": folder / "audit.jsonl",
        "--cluster": f"file://{folder}/map.json",
        "--node-id": "a",
        "--metrics-listen": "127.0.0.1:0",
    }


def names_shown(node, options):
    """The names of all samples that a node shows, or would if there were any of a metric."""
    known = ssl.create_default_context(cafile=options["--tls-client-ca"])
    known.load_cert_chain(options["--tls-cert"], options["--tls-key"])
    url = f"https://{metrics_address(node)}/metrics"
    with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS, context=known) as response:
        heads = re.findall(r"^# TYPE (\S+) (\S+)$", response.read().decode(), re.MULTILINE)
    return {name + ending for name, kind in heads for ending in ENDINGS.get(kind, ("",))}


@pytest.mark.parametrize("workers", [("--workers", "1"), ("--workers", "1", "--supervise"), ("--workers", "2")])
def test_a_node_shows_all_that_alerts_and_dashboard_may_ask_for(settings, workers):
    root, options = settings
    arguments = [f"{name}={value}" for name, value in options.items()]

    with node_process(root, *arguments, *workers) as node:
        shown = names_shown(node, options)

    assert set(EXPORTED.read_text().split()) - OF_PROMETHEUS - shown == set()
