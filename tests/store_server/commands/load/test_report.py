"""What people read: every figure says what it is of."""

from store_server.commands.load.checks import Check
from store_server.commands.load.find_rate import find_rate
from store_server.commands.load.job import Job, Run
from store_server.commands.load.report import search_summary, summary
from store_server.commands.load.result import Measured
from store_server.commands.load.row_choice import UniformChoice
from store_server.commands.load.tally import Tally

JOB = Job(
    url="grpc://host:1",
    table="t",
    version="v",
    num_rows=1000,
    row_bytes=8,
    choice=UniformChoice(),
    check=Check.none,
    root=None,
    rows_per_fetch=10,
    max_in_flight=64,
    processes=1,
    timeout_seconds=5.0,
    seed=0,
)
FIRST = Run(rate=200.0, warm_up_seconds=2.0, duration_seconds=4.0)


def tally(latency=0.001, **counts):
    made = Tally(measured_seconds=4.0, **counts)
    made.latencies.record(latency)
    return made


def line(text, name):
    [found] = [each for each in text.splitlines() if each.startswith(name)]
    return " ".join(found.split())


def test_throughput_is_of_the_fetches_that_were_due_and_what_the_warm_up_left_is_apart():
    counted = tally(completed=802, completed_in_time=800, left_from_warm_up=260)

    text = summary(Measured(job=JOB, run=FIRST, tally=counted))

    assert line(text, "fetches") == "fetches 802 due in the 4.0 s after the warm-up, 802 completed, 0 failed"
    assert line(text, "throughput").startswith("throughput 200.0 fetches/s, 2,000 rows/s")
    assert line(text, "throughput").endswith("(of the 800 completed within those 4.0 s)")
    assert line(text, "BEHIND").endswith("260 due in the warm-up were completed in this time: 265.0 fetches/s in all")


def test_what_was_under_way_when_the_warm_up_ended_is_not_worth_a_word():
    text = summary(Measured(job=JOB, run=FIRST, tally=tally(completed=800, left_from_warm_up=64)))

    assert "BEHIND" not in text


def searched(*tallies):
    """The search over runs that count this, one after the other."""
    left = iter(tallies)
    return find_rate(
        lambda run: Measured(job=JOB, run=run, tally=next(left)), FIRST, limit_seconds=0.005, tolerance=1.0
    )


def test_a_search_shows_the_run_at_the_rate_it_found_and_says_so():
    late = tally(latency=0.006)

    text = search_summary(searched(tally(), late, late))

    assert text.startswith("the run at the highest rate that held, 200.0/s:\n")
    assert "open loop, 200.0 fetches/s due" in line(text, "load")


def test_a_rate_that_is_tried_again_is_one_whose_first_try_did_not_hold_and_each_says_which_limit_it_missed():
    tries = [tally(), tally(never_started=3), tally(), tally(latency=0.006), tally(latency=0.006)]

    lines = [" ".join(each.split()) for each in search_summary(searched(*tries)).splitlines()]

    assert lines[lines.index("every rate tried, again where it did not hold:") :] == [
        "every rate tried, again where it did not hold:",
        "rate p99",
        "200.0/s 1.000 ms holds",
        "400.0/s 1.000 ms 3 fetches never started, --max-in-flight 64 were under way",
        "again 1.000 ms holds",
        "800.0/s 6.000 ms p99 above 5.000 ms",
        "again 6.000 ms p99 above 5.000 ms",
        "highest rate 400.0/s keeps p99 within 5.000 ms, 800.0/s does not; searched to 100.0%",
    ]


def test_a_search_that_is_interrupted_in_a_warm_up_shows_the_run_before():
    late = Measured(job=JOB, run=FIRST, tally=tally(latency=0.006))
    runs = iter([late, late, Measured(job=JOB, run=FIRST, tally=Tally(), interrupted=True)])

    found = find_rate(lambda _: next(runs), FIRST, limit_seconds=0.005, tolerance=1.0)

    assert found.best is late


def test_a_search_in_which_nothing_held_shows_the_last_run_and_says_so():
    late = tally(latency=0.006)

    text = search_summary(searched(*[late] * 40))

    assert text.startswith("no rate held; the last run, 1.0/s:\n")
