"""`doctor` at real nodes: what is well is said to be, and each thing that is broken is found by its own check."""

import dataclasses
import json
import re
import socket
from importlib import metadata

import pytest
from support.certificates import make_authority, make_certificate, make_expired
from support.credentials import CredentialsOnDisk
from support.network import free_ports
from support.processes import node_process
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import Node, Shard, write_shard_map
from store_server.storage import DataRoot


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "t", random_rows(100, 16))
    return tmp_path / "root"


@pytest.fixture
def look(run):
    """Run `doctor`; returns the exit status and the findings of each check."""

    def looked(*arguments):
        outcome = run("doctor", *arguments, "--json")
        findings = {}
        for finding in json.loads(outcome.out)["findings"]:
            findings.setdefault(finding["check"], []).append(finding)
        return outcome.status, findings

    return looked


def verdicts(findings, check):
    return [finding["verdict"] for finding in findings[check]]


def failed(findings):
    return [check for check, found in findings.items() if any(each["verdict"] == "fail" for each in found)]


def test_a_node_that_is_well_is_said_to_be(root, look):
    with node_process(root) as node:
        status, findings = look(node.url, "--root", root)

    assert (status, failed(findings)) == (0, [])
    for check in ("connection", "calls", "access", "limits", "row", "root"):
        assert verdicts(findings, check) == ["ok"]
    (clock,) = (finding for finding in findings["clock"] if finding["subject"] == node.address)
    assert re.fullmatch(r"\d\.\d{3} s (ahead of|behind) this host, give or take \d\.\d{3} s", clock["found"])
    assert findings["version"][1]["found"] == f"engram-store {metadata.version('engram-store')}"
    assert findings["row"][0]["found"].endswith(f"as in {root.as_uri()}")
    assert "rows/s" in findings["throughput"][0]["found"]


def test_people_get_a_line_a_check(root, run):
    with node_process(root) as node:
        outcome = run("doctor", node.url)

    assert outcome.status == 0
    assert any(line.startswith("ok ") and "connection" in line for line in outcome.out.splitlines())
    assert " checks: " in outcome.out.splitlines()[-1]


def test_rows_that_differ_from_those_of_the_root_fail(root, look, tmp_path):
    version = DataRoot.open(root).current_version("t")
    with node_process(root) as node:
        other = tmp_path / "other"
        write_table(other, "t", random_rows(100, 16))
        (data,) = (path for path in (other / "tables").rglob("*") if path.is_file() and path.stat().st_size == 1600)
        data.write_bytes(bytes(1600))
        assert DataRoot.open(other).current_version("t") == version
        status, findings = look(node.url, "--root", other)

    assert (status, failed(findings)) == (1, ["row"])


@pytest.mark.parametrize(
    ("shown", "failing", "says"),
    [
        ("own", None, ""),
        ("expired", "certificate", "certificate has expired"),
        ("elsewhere", "certificate", "mismatch"),
    ],
)
def test_the_certificate_of_a_node_is_looked_at(root, look, tmp_path, shown, failing, says):
    authority = make_authority(tmp_path, "authority")
    certificate = {
        "own": lambda: make_certificate(tmp_path, "own", authority),
        "expired": lambda: make_expired(tmp_path, "own", authority),
        "elsewhere": lambda: make_certificate(tmp_path, "own", authority, hosts=("elsewhere",)),
    }[shown]()
    with node_process(root, "--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key)) as node:
        status, findings = look(f"grpcs://{node.address}", "--ca-file", authority.cert)

    assert (status, failed(findings)) == ((1, [failing]) if failing else (0, []))
    assert says in findings["certificate"][0]["found"]
    assert "CN=own" in findings["certificate"][0]["found"]


def test_a_wrong_authority_a_missing_certificate_and_a_node_without_tls_are_told_apart(root, look, tmp_path):
    authority, other = make_authority(tmp_path, "authority"), make_authority(tmp_path, "other")
    own = make_certificate(tmp_path, "own", authority)
    tls = ("--tls-cert", own.cert, "--tls-key", own.key, "--tls-client-ca", authority.cert)
    with node_process(root, *map(str, tls)) as node, node_process(root) as plain:
        url = f"grpcs://{node.address}"
        wrong = look(url, "--ca-file", other.cert)[1]
        missing = look(url, "--ca-file", authority.cert)[1]
        good = look(url, "--ca-file", authority.cert, "--cert-file", own.cert, "--key-file", own.key)
        without = look(f"grpcs://{plain.address}", "--ca-file", authority.cert)[1]

    assert [failed(wrong), failed(missing), failed(without)] == [["certificate"], ["own certificate"], ["TLS"]]
    assert (good[0], failed(good[1])) == (0, [])
    assert "--ca-file" in wrong["certificate"][0]["change"]
    assert "speaks no TLS" in without["TLS"][0]["found"]


def test_a_wrong_token_is_found_and_never_shown(root, run, look, tmp_path):
    credentials = CredentialsOnDisk(tmp_path / "credentials")
    good = credentials.add("me")
    wrong = dataclasses.replace(good, secret="0" * len(good.secret))
    for name, token in (("good", good), ("wrong", wrong)):
        (tmp_path / name).write_text(token.text())
    with node_process(root, "--tokens", str(credentials.path)) as node:
        status, findings = look(node.url, "--token-file", tmp_path / "wrong")
        assert look(node.url, "--token-file", tmp_path / "good")[0] == 0
        shown = run("doctor", node.url, "--token-file", tmp_path / "wrong")

    assert (status, failed(findings)) == (1, ["calls"])
    assert "token new" in findings["calls"][0]["change"]
    assert wrong.text() not in shown.out + shown.err


def test_a_port_where_nobody_listens_and_one_that_never_answers_are_told_apart(look):
    (free,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = look(f"grpc://127.0.0.1:{free}")
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        mute = look(f"grpc://{address}", "--timeout", "1")

    assert (nobody[0], failed(nobody[1])) == (1, ["connection"])
    assert mute[0] == 1
    assert verdicts(mute[1], "connection") == ["ok"]
    assert set(failed(mute[1])) <= {"calls", "time limit"}


def test_a_name_that_nobody_knows_is_found(look):
    status, findings = look("grpcs://nowhere.invalid", "--timeout", "20")

    assert (status, failed(findings)) == (1, ["name"])


def test_a_worker_that_this_client_cannot_reach_is_found(root, look, tmp_path):
    with node_process(root, "--workers", "2", listen=f"unix://{tmp_path}/node") as node:
        before = look(node.url)[1]
        (tmp_path / "node.1").unlink()
        status, findings = look(node.url)

    assert verdicts(before, "worker") == ["ok", "ok"]
    assert (status, verdicts(findings, "worker")) == (0, ["ok", "warn"])
    assert "open the ports" in findings["worker"][1]["change"]


def test_a_node_of_the_cluster_that_is_down_is_found(root, look, tmp_path):
    ports = free_ports(2)
    nodes = [Node(id=name, address=f"127.0.0.1:{port}") for name, port in zip("ab", ports, strict=True)]
    manifest = DataRoot.open(root).manifest("t", DataRoot.open(root).current_version("t"))
    found = shard_map_of(*nodes, replicas=2)
    (version,) = found.versions.values()
    version = dataclasses.replace(
        version,
        table="t",
        version=manifest.version,
        num_rows=100,
        row_bytes=16,
        block_rows=manifest.block_rows,
        row_format="",
        fingerprint="",
        shards=(Shard(end_row=100, holders=(0, 1)),),
    )
    sets = {"model": dataclasses.replace(found.sets["model"], current={"t": version.version})}
    found = dataclasses.replace(found, versions={version.key: version}, sets=sets)
    (tmp_path / "map.json").write_text(write_shard_map(found))
    member = ("--cluster", f"file://{tmp_path}/map.json", "--node-id", "a")
    with node_process(root, *member, listen=nodes[0].address) as node:
        status, findings = look(node.url)

    assert (status, failed(findings)) == (1, ["node"])
    assert findings["node"][0]["subject"] == f"b ({nodes[1].address})"
    assert verdicts(findings, "replicas") == ["warn"]
    assert verdicts(findings, "row") == ["ok"]
    assert verdicts(findings, "versions") == ["ok"]


@pytest.mark.parametrize(
    ("arguments", "failing"),
    [
        (("file:///tmp",), "settings"),
        (("grpc://10.255.255.1:1",), "settings"),
        (("--root", "/nowhere"), "root"),
    ],
)
def test_what_cannot_be_looked_at_is_said(look, arguments, failing):
    status, findings = look(*arguments)

    assert (status, failed(findings)) == (1, [failing])


def test_options_that_the_host_cannot_follow_fail(root, look):
    _, findings = look("--root", root, "--in-memory", "nothing", "--numa-nodes", "99")

    assert {"in memory", "placement"} <= set(failed(findings))


def test_without_a_url_or_a_root_there_is_nothing_to_look_at(run):
    assert "give a URL, --root ROOT or --config FILE" in run("doctor").error


@pytest.fixture
def file(root, tmp_path):
    """Write settings beside those that every node needs; returns where they are."""

    def written(*lines):
        file = tmp_path / "node.toml"
        file.write_text("\n".join([f'root = "{root}"', 'listen = "127.0.0.1:0"', *lines]))
        return file

    return written


def test_this_host_is_looked_at_for_the_settings_of_a_file(look, file, tmp_path):
    shown = make_certificate(tmp_path, "own", make_authority(tmp_path, "authority"))

    tls = (f'tls-cert = "{shown.cert}"', f'tls-key = "{shown.key}"')
    status, findings = look("--config", file(*tls, 'in-memory = ["t"]'))

    assert (status, failed(findings)) == (0, [])
    for check in ("settings", "root", "memory"):
        assert verdicts(findings, check) == ["ok"]
    assert findings["certificate"][0]["subject"] == str(shown.cert)
    assert "CN=own" in findings["certificate"][0]["found"]


def test_each_problem_of_a_file_of_settings_is_a_failure(look, file, tmp_path):
    expired = make_expired(tmp_path, "own", make_authority(tmp_path, "authority"))

    tls = (f'tls-cert = "{expired.cert}"', f'tls-key = "{expired.key}"')
    status, findings = look("--config", file(*tls, 'in-memory = ["gone"]', "drain-secnds = 5", 'numa-nodes = "99"'))

    assert status == 1
    assert set(failed(findings)) == {"settings", "certificate", "in memory", "placement"}
    assert any("did you mean drain-seconds?" in finding["found"] for finding in findings["settings"])
    assert "has expired" in findings["certificate"][0]["found"]


def test_what_is_given_beside_a_file_of_settings_goes_before_it(look, file, tmp_path):
    write_table(tmp_path / "other", "u", random_rows(100, 16))

    _, findings = look("--config", file('in-memory = ["t"]'), "--root", tmp_path / "other", "--in-memory", "u")

    assert failed(findings) == []
    assert findings["root"][0]["subject"] == str(tmp_path / "other")


def test_an_address_of_a_file_of_settings_that_is_taken_is_said_to_be(root, look, file):
    with node_process(root) as node:
        status, findings = look("--config", file(f'metrics-listen = "{node.address}"'))

    assert (status, verdicts(findings, "addresses")) == (0, ["warn"])
    assert "--metrics-listen" in findings["addresses"][0]["found"]
