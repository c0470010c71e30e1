"""What nodes say of themselves, as text."""

import json
from dataclasses import replace

import pytest

from engram_store.shard_map import Node, VersionKey
from store_server.cluster.registration import InvalidRegistration, NodeRegistration

NODE = NodeRegistration(
    node=Node(id="a", address="h:1", labels={"zone": "z"}, capacity_bytes=7, draining=True),
    incarnation="x",
    held={VersionKey("t", "v2"): ((0, 3), (5, 6)), VersionKey("t", "v1"): ()},
    bytes_used=44,
    read=frozenset({VersionKey("t", "v2")}),
    replicas=2,
    disk_failure="disk full: /d",
)


def test_a_registration_comes_back_from_its_text():
    assert NodeRegistration.from_json(NODE.to_json()) == NODE


def test_of_a_long_reason_why_a_disk_fails_the_beginning_is_told():
    told = NodeRegistration.from_json(replace(NODE, disk_failure="\U0001f5b4" * 9_999).to_json())

    assert told == replace(NODE, disk_failure="\U0001f5b4" * 240)


def test_what_a_newer_node_says_beside_is_passed_over():
    values = json.loads(NODE.to_json())
    newer = values | {"surprise": 3, "node": values["node"] | {"surprise": 3}}

    assert NodeRegistration.from_json(json.dumps(newer).encode()) == NODE


@pytest.mark.parametrize(
    "change",
    [
        {"node": {"id": "a"}},
        {"node": {"id": 1, "address": "h:1"}},
        {"node": {"id": "a", "address": "h:1", "labels": 3}},
        {"node": {"id": "a", "address": "h:1", "labels": {"zone": 5}}},
        {"node": {"id": "a", "address": "h:1", "labels": {str(number): "x" for number in range(101)}}},
        {"node": {"id": "a", "address": "h:1", "draining": "no"}},
        {"node": {"id": "a", "address": "\ud800"}},
        {"node": {"id": "a", "address": "h" * 1001}},
        *({"node": {"id": "a", "address": "h:1", "capacity_bytes": wrong}} for wrong in ("x", -1, 1.5, True, 1 << 70)),
        {"held": [["t", "v"]]},
        {"held": [["t", "v", [[3, 3]]]]},
        {"held": [["t", "v", [[0, 3], [3, 4]]]]},
        {"held": [["t", "v", [[-2, 3]]]]},
        {"held": [["t", "v", [[5, 6], [0, 3]]]]},
        {"held": 7},
        {"held": [["t", "v", [[0, float("inf")]]]]},
        {"held": [["t", "v", [[0, 1.5]]]]},
        {"held": [[1, "v", []]]},
        {"bytes_used": "many"},
        {"bytes_used": float("inf")},
        {"bytes_used": -1},
        {"read": [["t"]]},
        {"replicas": "x"},
        {"disk_failure": 3},
        {"incarnation": None},
        {"incarnation": None, "node": None},
    ],
)
def test_a_text_that_says_no_sense_is_refused(change):
    text = json.dumps(json.loads(NODE.to_json()) | change)

    with pytest.raises(InvalidRegistration, match="no registration of a node"):
        NodeRegistration.from_json(text.encode())


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000])
def test_what_is_no_text_of_a_registration_is_refused(data):
    with pytest.raises(InvalidRegistration, match="no registration of a node"):
        NodeRegistration.from_json(data)
