"""The audit log: whole lines, no secrets, and nobody held up by a disk."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
from support.credentials import bearer

from store_server.access.audit import AuditInLog, Event
from store_server.access.audit_file import AuditFile
from store_server.access.refusals import Refusals
from store_server.access.token import Token


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def event(number: int = 0, **values) -> Event:
    return Event(action="attach", outcome="done", caller="ops", details={"number": number}, **values)


def test_a_line_says_who_did_what_from_where_and_how_it_ended(tmp_path):
    audit = AuditFile(tmp_path / "audit.log")

    audit.record(Event(action="drop", outcome="failed", caller="ops", peer="ipv4:10.0.0.1:5", request_id="r1"))
    audit.record(Event(action="credentials", outcome="reread", details={"added": ["a", "b"], "changed": []}))
    audit.close()

    first, second = lines_of(tmp_path / "audit.log")
    assert first.pop("time").endswith("Z")
    assert first == {
        "action": "drop",
        "outcome": "failed",
        "caller": "ops",
        "peer": "ipv4:10.0.0.1:5",
        "request_id": "r1",
        "pid": os.getpid(),
    }
    assert (second["caller"], second["added"], second["changed"]) == ("the node", ["a", "b"], [])


def test_no_line_holds_a_secret_whatever_it_was_given(tmp_path):
    token, audit = Token.new(), AuditFile(tmp_path / "audit.log")

    for text in (token.text(), str(bearer(token))):
        audit.record(Event(action=text, outcome=text, caller=text, peer=text, request_id=text, details={"x": text}))
        audit.record(Event(action="attach", outcome="done", details={"list": [text]}))
    audit.close()

    assert len(lines_of(tmp_path / "audit.log")) == 4
    assert token.secret not in (tmp_path / "audit.log").read_text()


def test_several_workers_append_whole_lines(tmp_path):
    audits = [AuditFile(tmp_path / "audit.log") for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda audit: [audit.record(event(number)) for number in range(500)], audits))
    for audit in audits:
        audit.close()

    assert sorted(line["number"] for line in lines_of(tmp_path / "audit.log")) == sorted([*range(500)] * 4)
    assert [audit.failures for audit in audits] == [0] * 4


def test_a_log_that_was_moved_away_is_begun_again(tmp_path):
    path, moved = tmp_path / "audit.log", tmp_path / "audit.log.1"
    first = AuditFile(path)
    first.record(event(1))
    first.close()

    audit = AuditFile(path)
    path.rename(moved)
    audit.record(event(2))
    audit.close()

    assert [line["number"] for line in lines_of(moved)] == [1]
    assert [line["number"] for line in lines_of(path)] == [2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_counted_and_said_once():
    with structlog.testing.capture_logs() as logged:
        audit = AuditFile(Path("/dev/full"))
        for number in range(3):
            audit.record(event(number))
        audit.close()

    assert audit.failures == 3
    gaps = [line for line in logged if line["event"] == "the audit log has gaps"]
    assert [line["error"] for line in gaps] == ["No space left on device"]


def test_a_disk_that_does_not_answer_holds_up_nobody(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    audit = AuditFile(path, most_waiting=10)
    details = {"words": "x" * 100_000}  # more than a pipe takes that nobody reads

    for _ in range(100):
        audit.record(Event(action="attach", outcome="done", details=details))

    assert 80 <= audit.failures <= 100
    assert any(thread.name == "audit" and thread.daemon for thread in threading.enumerate())
    os.close(reader)


def test_a_node_does_not_begin_with_an_audit_log_that_it_cannot_write(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        AuditFile(tmp_path / "missing" / "audit.log")


def test_without_a_file_the_ordinary_log_has_the_lines():
    with structlog.testing.capture_logs() as logged:
        AuditInLog().record(event(7))

    assert logged == [
        {"event": "audit", "log_level": "info", "action": "attach", "outcome": "done", "caller": "ops", "number": 7}
    ]


def test_refusals_are_written_as_often_as_a_person_can_read_them():
    now, taken = [0.0], []

    class Taken:
        failures = 0

        def record(self, event):
            taken.append(event)

        def close(self):
            pass

    refusals = Refusals(Taken(), now=lambda: now[0])
    for _ in range(1000):
        refusals.say("no such token", peer="ipv4:1", token_id="ab")
    now[0] += 1
    refusals.say("no such token", peer="ipv4:2")

    assert refusals.count == 1001
    assert len(taken) == 21
    assert taken[-1].details == {"left_out": 980, "reason": "no such token"}
