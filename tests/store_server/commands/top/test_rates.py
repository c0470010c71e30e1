"""What `top` makes of two looks that are made up: rates, latencies, and what fits a screen."""

import math

import pytest

from engram_store.v1 import admin_service_pb2 as pb
from store_server.commands.top.columns import Column, between_text, duration_text, fitted, node_columns
from store_server.commands.top.latencies import Between, Latencies
from store_server.commands.top.picture import picture_of
from store_server.commands.top.sight import Look, SeenNode, SeenProcess

BOUNDS = (0.001, 0.01)


def status(uptime, *, lookups=0, disk=0, rows=0, failed=0, started=1, times=(0, 0, 0), **others):
    """What a process with a table `t` says when it has run so long."""
    table = pb.TableStatus(name="t", version="v", served=True, found_rows=rows, found_bytes=rows * 10, resident_bytes=7)
    table.lookups.update({"ram": lookups - disk, "disk": disk})
    found = pb.GetStatusResponse(pid=5, started_at_ns=started, uptime_seconds=uptime, ready=True, tables=[table])
    found.failed["ROW_OUT_OF_RANGE"] = failed
    found.lookup_seconds["ram"].MergeFrom(pb.LookupTimes(bounds_seconds=BOUNDS, cumulative=times))
    found.MergeFrom(pb.GetStatusResponse(**others))
    return found


def look(**nodes):
    """One look at nodes, each with the statuses of its processes; None is one that does not answer."""
    return Look(
        at=0.0,
        nodes=[
            SeenNode(
                name=name,
                address=name,
                processes=[
                    SeenProcess(address=f"{name}:{number}", status=each, failure="" if each else "gone")
                    for number, each in enumerate(processes)
                ],
            )
            for name, processes in nodes.items()
        ],
    )


def test_rates_are_differences_by_the_nodes_own_clock():
    before, now = status(10.0, lookups=100, rows=1000), status(14.0, lookups=140, disk=10, rows=3000, failed=8)

    (node,) = picture_of(look(a=[before]), look(a=[now])).nodes

    assert (node.traffic.lookups, node.traffic.rows, node.traffic.row_bytes) == (10, 500, 5000)
    assert node.traffic.disk_share == 0.25
    assert node.failed == 2


def test_a_process_that_began_anew_has_no_rates_until_it_was_seen_twice():
    before, now = status(10.0, lookups=1, rows=10), status(50.0, lookups=7, rows=70, started=2)

    picture = picture_of(look(a=[before]), look(a=[now]))

    assert (picture.nodes[0].traffic, picture.nodes[0].failed, picture.nodes[0].p99) == (None, None, None)
    assert picture.tables[0].traffic is None


def test_a_table_that_was_counted_from_0_again_has_no_negative_rate():
    picture = picture_of(look(a=[status(1.0, lookups=100, rows=9)]), look(a=[status(2.0, lookups=3, rows=1)]))

    assert picture.tables[0].traffic is None


def test_workers_of_a_node_and_nodes_of_a_cluster_add_up_and_share_what_is_in_ram():
    now = status(2.0, lookups=10, rows=100)
    picture = picture_of(look(a=[status(1.0)] * 2, b=[status(1.0)]), look(a=[now] * 2, b=[now]))

    assert [node.traffic.rows for node in picture.nodes] == [200, 100]
    assert picture.tables[0].traffic.rows == 300
    assert picture.tables[0].resident_bytes == 14


def test_a_node_that_does_not_answer_is_shown_and_takes_nothing_from_the_others():
    picture = picture_of(look(a=[status(1.0)], b=[status(1.0)]), look(a=[status(2.0, rows=5)], b=[None]))

    a, b = picture.nodes
    assert (a.state, a.traffic.rows) == ("ready", 5)
    assert (b.state, b.failure, b.traffic) == ("no answer", "gone", None)
    assert "-" in next(column for column in node_columns(picture.nodes) if column.head == "rows/s").cells


@pytest.mark.parametrize(
    ("processes", "text"),
    [
        ([status(2.0)], "ready"),
        ([status(2.0)] * 2, "ready (2 workers)"),
        ([status(2.0), None], "ready, 1 of 2 workers answer"),
        ([None, None], "no answer"),
    ],
)
def test_workers_that_do_not_answer_are_counted(processes, text):
    (node,) = picture_of(look(), look(a=processes)).nodes

    assert node_columns([node])[1].cells == [text]


@pytest.mark.parametrize(
    ("others", "state"),
    [({}, "ready"), ({"draining": True}, "draining"), ({"draining": True, "quiet": True}, "drained")],
)
def test_the_state_of_a_node_is_a_word(others, state):
    assert picture_of(look(), look(a=[status(1.0, **others)])).nodes[0].state == state


def test_a_percentile_is_known_by_the_bounds_of_its_bucket():
    latencies = Latencies()
    latencies.add(status(1.0, times=(10, 10, 10)), status(2.0, times=(60, 108, 110)))

    assert latencies.percentile(50) == Between(above_seconds=0.0, at_most_seconds=0.001)
    assert latencies.percentile(51) == Between(above_seconds=0.001, at_most_seconds=0.01)
    assert latencies.percentile(99) == Between(above_seconds=0.01, at_most_seconds=math.inf)
    assert Latencies().percentile(99) is None


def test_times_are_told_with_both_bounds():
    assert between_text(Between(above_seconds=0.001, at_most_seconds=0.0025)) == "1-2.5"
    assert between_text(Between(above_seconds=10.0, at_most_seconds=math.inf)) == ">10000"
    assert between_text(None) == "-"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59, "59s"), (3700, "1h 1min"), (200_000, "2d 7h")])
def test_durations_are_told_in_two_units(seconds, text):
    assert duration_text(seconds) == text


def test_columns_that_matter_least_go_first_where_there_is_no_room():
    columns = [Column(head=head, cells=["12345"], rank=rank) for head, rank in (("a", 0), ("b", 2), ("c", 1))]

    assert [column.head for column in fitted(columns, 19)] == ["a", "b", "c"]
    assert [column.head for column in fitted(columns, 18)] == ["a", "c"]
    assert [column.head for column in fitted(columns, 1)] == ["a"]
