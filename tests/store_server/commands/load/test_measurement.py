"""What is counted, on a clock of its own and a table that stalls when it is told to."""

import asyncio
import itertools

import numpy as np
import pytest
from support.rows import random_rows
from support.virtual_clock import run_virtually

from store_server.commands.load.arrivals import Arrivals, Spacing
from store_server.commands.load.checks import ExpectedRows
from store_server.commands.load.histogram import RELATIVE_ERROR
from store_server.commands.load.measurement import Lanes, Measurement, Window

SERVICE_SECONDS = 0.001
STALL_BEGIN, STALL_END = 1.0, 2.0
ROWS = random_rows(100, 16)


class Table:
    """Answers in a millisecond, but not while it stalls; all that came meanwhile goes on when the stall ends."""

    def __init__(self, rows=ROWS, *, stalls: bool = False, fails_at=()) -> None:
        self.rows, self.stalls, self.fails_at = rows, stalls, fails_at
        self.under_way = self.most_under_way = self.fetches = 0

    async def fetch(self, ids, *, out):
        self.fetches += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        number, loop = self.fetches, asyncio.get_running_loop()
        begin = STALL_END if self.stalls and STALL_BEGIN <= loop.time() < STALL_END else loop.time()
        try:
            await asyncio.sleep(begin + SERVICE_SECONDS - loop.time())
        finally:
            self.under_way -= 1
        if number in self.fails_at:
            raise ConnectionError("the table is gone")
        out[:] = self.rows[ids]


class Source:
    """Rows 0, 1, 2, ... again and again."""

    def __init__(self) -> None:
        self.ids = itertools.cycle(range(len(ROWS)))

    def take(self, count):
        return np.array([next(self.ids) for _ in range(count)])


def measurement(table, *, rate=None, lanes=64, warm_up=0.0, seconds=10.0, expect=ROWS.__getitem__):
    times = None if rate is None else Arrivals(rate=rate, spacing=Spacing.constant).times(0)
    return Measurement(
        table,
        Source(),
        ExpectedRows(expect),
        lanes=Lanes(count=lanes, rows_per_fetch=4, row_bytes=ROWS.shape[1]),
        window=Window(begin=0.0, measured_from=warm_up, end=warm_up + seconds),
        arrivals=times,
    )


def measure(table, **how):
    return run_virtually(measurement(table, **how).run())


def latencies_by_hand(rate, lanes, seconds):
    """A queue, simulated arrival by arrival: each takes the lane that is free first."""
    free = [0.0] * lanes
    latencies = []
    for number in range(int(rate * seconds)):
        due = number / rate
        lane = free.index(min(free))
        begin = max(due, free[lane])
        ended = (STALL_END if STALL_BEGIN <= begin < STALL_END else begin) + SERVICE_SECONDS
        free[lane] = ended
        latencies.append(ended - due)
    return np.sort(latencies)


def exactly(seconds):
    """What a histogram may say of a time: not less, and not more than its precision above."""
    return pytest.approx(seconds * (1 + RELATIVE_ERROR / 2), rel=RELATIVE_ERROR / 2, abs=2e-9)


@pytest.mark.parametrize("lanes", [1, 2, 16, 200])
def test_a_stall_shows_in_the_percentiles_with_the_wait_of_every_fetch_that_was_due(lanes):
    tally = measure(Table(stalls=True), rate=100, lanes=lanes)

    expected = latencies_by_hand(100, lanes, 10)
    assert tally.completed == len(expected) == 1000
    for percent, rank in ((50, 500), (90, 900), (99, 990), (99.9, 999), (100, 1000)):
        assert tally.latencies.percentile(percent) == exactly(expected[rank - 1])
    assert tally.latencies.percentile(99) > 0.89
    assert tally.latencies.mean == pytest.approx(expected.mean())


def test_a_closed_loop_of_one_hardly_sees_the_stall():
    tally = measure(Table(stalls=True), lanes=1, seconds=2.5)

    assert tally.latencies.percentile(99) == exactly(SERVICE_SECONDS)
    assert tally.latencies.most == pytest.approx(STALL_END - STALL_BEGIN + SERVICE_SECONDS, abs=SERVICE_SECONDS)


@pytest.mark.parametrize("rate", [None, 100_000])
def test_never_more_fetches_are_under_way_than_lanes(rate):
    table = Table()

    measure(table, rate=rate, lanes=3, seconds=0.1)

    assert table.most_under_way == 3


def test_what_could_not_be_started_counts_with_its_wait():
    tally = measure(Table(), rate=2000, lanes=1, seconds=1.0)

    served = [number * SERVICE_SECONDS + SERVICE_SECONDS - number / 2000 for number in range(1000)]
    by_hand = np.sort(served + [1.0 - number / 2000 for number in range(1000, 2000)])
    assert (tally.completed, tally.never_started, tally.latencies.count) == (1000, 1000, 2000)
    for percent, rank in ((25, 500), (50, 1000), (99, 1980), (100, 2000)):
        assert tally.latencies.percentile(percent) == exactly(by_hand[rank - 1])


def test_the_warm_up_is_not_measured():
    table = Table(stalls=True)

    tally = measure(table, rate=100, warm_up=3.0, seconds=2.0)

    assert table.fetches == 500
    assert (tally.num_due, tally.latencies.count, tally.measured_seconds) == (200, 200, 2.0)
    assert tally.latencies.most == pytest.approx(SERVICE_SECONDS)


@pytest.mark.parametrize(
    ("seconds", "due", "in_time", "left"),
    [(0.25, 25, 0, 0), (1.0, 100, 100, 50)],
    ids=["the stall outlasts it", "the stall ends in it"],
)
def test_throughput_counts_what_was_due_and_ended_within_the_measured_time_and_apart_what_the_warm_up_left(
    seconds, due, in_time, left
):
    tally = measure(Table(stalls=True), rate=100, lanes=200, warm_up=1.5, seconds=seconds)

    assert (tally.num_due, tally.completed) == (due, due)
    assert (tally.completed_in_time, tally.left_from_warm_up) == (in_time, left)


def test_failures_are_counted_by_kind_with_the_time_they_took():
    tally = measure(Table(fails_at=range(4, 101, 4)), rate=100, seconds=1.0)

    assert (tally.completed, dict(tally.failed)) == (75, {"ConnectionError": 25})
    assert tally.messages == {"ConnectionError": "the table is gone"}
    assert tally.latencies.count == 100


def test_wrong_rows_are_found_in_the_warm_up_too():
    rows = ROWS.copy()
    rows[17, 3] ^= 1

    tally = measure(Table(rows), rate=100, warm_up=1.0, seconds=0.01)

    assert (tally.rows_checked, tally.rows_wrong, tally.first_wrong_row) == (101 * 4, 4, 17)


def test_rows_that_were_not_filled_in_are_wrong():
    class Forgetful(Table):
        async def fetch(self, ids, *, out):
            await super().fetch(ids, out=out)
            out[-1] = 0

    assert measure(Forgetful(), rate=100, lanes=1, seconds=1.0).rows_wrong == 100


def test_an_interrupt_leaves_what_was_counted_so_far():
    async def interrupted():
        running = measurement(Table(stalls=True), rate=100)
        task = asyncio.create_task(running.run())
        await asyncio.sleep(1.5 + 1e-6)
        running.interrupt()
        return await task

    tally = run_virtually(interrupted())

    assert (tally.completed, tally.cut_off, tally.never_started) == (100, 51, 0)
    assert tally.measured_seconds == pytest.approx(1.5)


def test_snapshots_add_up_to_the_whole():
    async def watched():
        running = measurement(Table(stalls=True), rate=100, warm_up=0.5, seconds=2.5)
        task = asyncio.create_task(running.run())
        snapshots = []
        while not task.done():
            await asyncio.sleep(0.25)
            snapshots.append(running.snapshot())
        return await task, snapshots

    tally, snapshots = run_virtually(watched())

    assert sum(each.completed for each in snapshots) == 300
    assert sum(each.latencies.count for each in snapshots) == 300
    assert max(each.in_flight for each in snapshots) == 64
    assert [each.is_warming_up for each in snapshots[:3]] == [True, False, False]
    assert sum(each.rows_checked for each in snapshots) == tally.rows_checked == 1200


def test_a_mistake_of_ours_is_no_failed_fetch():
    def expect(ids):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure(Table(), rate=100, expect=expect)
