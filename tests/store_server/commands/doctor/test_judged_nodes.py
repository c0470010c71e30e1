"""What doctor makes of handshakes, answers and maps that are made up."""

import dataclasses
from pathlib import Path

import pytest
from support.shard_maps import shard_map_of

from engram_client.errors import PermissionDenied
from engram_store.shard_map import Node, Shard
from store_server.commands.doctor.calls import judge_access, judge_round_trip
from store_server.commands.doctor.cluster import judge_epochs, judge_replicas
from store_server.commands.doctor.finding import Verdict, fail, ok, unknown, warn
from store_server.commands.doctor.report import as_json, lines_of, summary_of
from store_server.commands.doctor.status import SeenStatus, judge_clock, judge_status, judge_versions
from store_server.commands.doctor.tls import judge_no_tls, judge_tls
from store_server.commands.doctor.tls_facts import TlsFacts, TlsFiles

DAY = 86_400.0
NOW = 1000 * DAY
SHAKEN = TlsFacts(
    version="TLSv1.3",
    cipher="AES",
    subject="CN=n",
    names=("n",),
    not_before=NOW - DAY,
    not_after=NOW + 90 * DAY,
)


def verdicts(findings):
    return [(finding.check, finding.verdict.value) for finding in findings if finding.verdict != "ok"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"not_after": NOW + 13 * DAY}, [("certificate", "warn")]),
        ({"not_before": NOW - 60}, [("certificate", "warn")]),
        ({"problem": "certificate has expired"}, [("certificate", "fail")]),
        ({"hung_up": "it closes the connection"}, [("own certificate", "fail")]),
    ],
)
def test_a_handshake_is_judged_by_what_it_shows(changed, expected):
    assert verdicts(judge_tls("n:1", dataclasses.replace(SHAKEN, **changed), TlsFiles(), NOW)) == expected


def test_a_file_of_another_authority_is_named():
    facts = dataclasses.replace(SHAKEN, problem="unable to get local issuer certificate")

    changes = [
        next(finding.change for finding in judge_tls("n:1", facts, files, NOW) if finding.check == "certificate")
        for files in (TlsFiles(), TlsFiles(ca=Path("other.crt")))
    ]

    give = "give --ca-file the certificate of the authority that signed it"
    assert changes == [give, f"other.crt is of another authority: {give}"]


def test_a_node_that_says_nothing_at_the_handshake_is_told_from_one_that_refuses():
    assert "within 5 s" in judge_no_tls("n:1", TimeoutError(), 5).found
    assert "reset" in judge_no_tls("n:1", ConnectionResetError("reset"), 5).found


def test_a_round_trip_that_holds_a_layer_up_is_a_warning():
    assert judge_round_trip("n:1", 0.0004).verdict is Verdict.ok
    assert judge_round_trip("n:1", 0.02).verdict is Verdict.warn


def test_a_caller_that_sees_no_table_is_told_of_rights():
    assert "scope `read`" in judge_access("n:1", shows_token=True, tables=[]).change


def test_a_node_that_goes_by_another_map_is_named():
    assert [finding.subject for finding in judge_epochs({"a": 7, "b": 6, "c": 7}, 7)] == ["b"]
    assert [finding.verdict for finding in judge_epochs({"a": 7, "b": 7}, 7)] == [Verdict.ok]


def test_rows_that_no_node_has_are_a_failure_and_those_that_too_few_have_a_warning():
    nodes = [Node(id=name, address=f"{name}:1") for name in "abc"]
    found = shard_map_of(*nodes, replicas=2)
    (version,) = found.versions.values()
    version = dataclasses.replace(version, shards=(Shard(end_row=version.num_rows, holders=(0, 1)),))
    shard_map = dataclasses.replace(found, versions={version.key: version})

    def verdict(*living):
        (finding,) = judge_replicas(shard_map, dict.fromkeys(living, 1))
        return finding.verdict

    assert [verdict("a", "b"), verdict("a", "c"), verdict("c")] == [Verdict.ok, Verdict.warn, Verdict.fail]


def test_findings_are_lines_for_people_and_an_object_for_programs():
    findings = [
        ok("a", "x", "good"),
        warn("b", "x", "so so", "mend"),
        unknown("c", "x", "?"),
        fail("d", "x", "no", "do"),
    ]

    assert list(lines_of(findings[1]))[1].strip() == "-> mend"
    assert summary_of(findings) == "4 checks: 1 fine, 1 to be seen to, 1 failed, 1 unknown"
    assert as_json(findings)["ok"] is False
    assert as_json(findings[:3])["ok"] is True


def test_no_secret_is_printed_though_a_finding_quotes_one():
    secret = "engram_0123456789ab_verysecret"

    assert "verysecret" not in "".join(lines_of(fail("a", "x", f"got {secret}", f"not {secret}")))
    assert "verysecret" not in str(as_json([fail("a", "x", f"got {secret}", "")]))


def seen(ahead, give_or_take=0.001, version="1.2"):
    return SeenStatus(version=version, ahead_seconds=ahead, give_or_take_seconds=give_or_take)


@pytest.mark.parametrize(
    ("ahead", "give_or_take", "verdict"),
    [(0.0, 0.001, "ok"), (-5.0, 0.001, "ok"), (5.5, 1.0, "ok"), (6.5, 1.0, "warn"), (-5.5, 0.1, "warn")],
)
def test_a_clock_is_warned_of_only_if_it_is_surely_too_far_off(ahead, give_or_take, verdict):
    assert judge_clock("n:1", seen(ahead, give_or_take)).verdict == verdict


def test_a_clock_is_told_with_its_direction_and_with_how_sure_that_is():
    assert judge_clock("n:1", seen(-0.25, 0.002)).found == "0.250 s behind this host, give or take 0.002 s"
    assert judge_clock("n:1", seen(7.0)).found.startswith("7.000 s ahead of this host, give or take 0.001 s")


def test_a_node_that_does_not_say_how_it_is_leaves_version_and_clock_unknown():
    found = list(judge_status("n:1", PermissionDenied("no right to read"), "1.2"))

    assert verdicts(found) == [("version", "unknown"), ("clock", "unknown")]
    assert "scope `read`" in found[0].change


def test_another_version_than_this_clients_is_named():
    found = next(judge_status("n:1", seen(0.0, version="1.3"), "1.2"))

    assert (found.verdict, found.found) == ("ok", "engram-store 1.3, this client is of 1.2")


def test_a_cluster_of_several_versions_is_to_be_seen_to():
    assert verdicts(judge_versions("prod", {"a": "1.2", "b": "1.3"})) == [("versions", "warn")]
    assert verdicts(judge_versions("prod", {"a": "1.2", "b": "1.2"})) == []
