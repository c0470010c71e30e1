"""The short form of the soak, and what it would notice."""

import numpy as np
from soak.client import Told
from soak.findings import SECONDS_TO_JUDGE_GROWTH, Findings
from soak.running import soak
from soak.stamped import stamped_rows
from support.growth import Growth, Sample

IDS = np.arange(5)
MIB = 1 << 20


def test_whatever_is_swapped_or_killed_no_fetch_fails_and_no_row_is_wrong(tmp_path):
    findings = soak(tmp_path, seconds=60.0, swap_seconds=0.2, kill_seconds=1.0, is_short=True)

    assert findings.is_right, findings.table()


def test_rows_of_two_versions_in_one_fetch_are_wrong():
    told, rows = Told(), stamped_rows(1, IDS)
    rows[3] = stamped_rows(2, IDS)[3]

    told.check(rows, IDS, 0)

    assert told.wrong == 1


def test_a_handle_that_moves_to_another_version_by_itself_is_wrong():
    told = Told()

    told.check(stamped_rows(2, IDS), IDS, told.check(stamped_rows(1, IDS), IDS, 0))

    assert (told.fetches, told.wrong, told.versions_seen) == (2, 1, 2)


def test_other_rows_of_the_right_version_are_wrong():
    told = Told()

    told.check(stamped_rows(1, IDS + 1), IDS, 0)

    assert told.wrong == 1


def findings_with(**changes):
    told = {"steady": Told(fetches=5, connections=1, versions_seen=3)}
    return Findings(**{"seconds": 60.0, "told": told, "swaps": 2, "kills": 1, "worker_replaced": 1} | changes)


def missed(findings):
    return [what for what, _, is_met in findings.bars() if not is_met]


def test_a_soak_in_which_all_is_well_meets_every_bar():
    assert missed(findings_with()) == []


def test_each_bar_is_missed_by_what_it_is_there_for():
    growing = {"worker": Growth([Sample(at, (100 + at) * MIB, 0, 20) for at in range(30)])}

    assert missed(findings_with(told={"steady": Told(versions_seen=3)})) == ["fetches by every client"]
    assert missed(findings_with(told={"steady": Told(fetches=1, wrong=1, versions_seen=3)})) == ["no wrong row"]
    assert missed(findings_with(told={"steady": Told(fetches=1, failed=1, versions_seen=3)})) == ["no failed fetch"]
    assert missed(findings_with(told={"steady": Told(fetches=1, versions_seen=1)})) == ["versions swapped and seen"]
    assert missed(findings_with(worker_replaced=0)) == ["workers killed and replaced"]
    assert missed(findings_with(kills=3)) == ["workers killed and replaced"]
    assert missed(findings_with(node_ended_with=1)) == ["the node lives"]
    assert missed(findings_with(growth=growing, seconds=SECONDS_TO_JUDGE_GROWTH)) == ["worker: flat"]
