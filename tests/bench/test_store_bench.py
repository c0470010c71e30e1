"""The store benchmark: its short form, and that it believes nobody."""

import json
import subprocess
import sys
from functools import partial

import pytest
from bench.store_bench.client_process import Case
from bench.store_bench.measure import Effort, measure
from bench.store_bench.placement import placements
from bench.store_bench.questions import Questions, RowFile
from bench.store_bench.round import Round, WrongRows, buffers_for
from bench.store_bench.summary import figures_of, print_table
from support import fake_subjects
from support.environment import with_tests
from support.fake_subjects import GatheringSubject


def test_the_short_form_compares_a_node_with_the_reference_socket(tmp_path):
    options = ["--subjects", "grpc memory", "--batches", "16", "5000", "--placements", "shared"]
    effort = ["--rows", "6000", "--rounds", "2", "--seconds", "0.02", "--no-figures", "--out", str(tmp_path)]

    ended = subprocess.run(
        [sys.executable, "-m", "bench.store_bench", *options, *effort],
        env=with_tests(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    cases = {(one["subject"], one["ids_per_fetch"], one["in_flight"]) for one in figures}
    subjects = ("reference socket", "engram-store grpc memory")
    assert cases == {(name, batch, number) for name in subjects for batch in (16, 5000) for number in (1, 8)}
    for one in figures:
        assert one["rounds"] == 2
        assert one["rate_to_reference"]["low"] <= one["rate_to_reference"]["median"] <= one["rate_to_reference"]["high"]
        assert min(one["rows_per_second"], one["server_cpu_us_per_row"], one["server_private_mib"]) > 0
        assert one["p50_us"] <= one["p99_us"]
    assert all(one["rate_to_reference"]["median"] == 1 for one in figures if one["subject"] == "reference socket")


@pytest.mark.parametrize(
    "change",
    [
        fake_subjects.one_byte_changed,
        fake_subjects.a_row_too_few,
        fake_subjects.in_another_order,
        fake_subjects.RowsOfTheFetchBefore(),
    ],
)
@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_round_ends_at_the_first_wrong_row(tmp_path, change, in_flight):
    file = RowFile.write(tmp_path, 1000)
    subject = GatheringSubject("wrong", change)
    subject.start_server(file, tmp_path)

    with pytest.raises(WrongRows, match="asked for 8 rows of 264 bytes"):
        subject.run(Round(Questions.of(file, 8), buffers_for(in_flight, 8), seconds=10))


def test_a_subject_that_was_wrong_is_reported_and_has_no_figures(tmp_path):
    file = RowFile.write(tmp_path, 1000)
    subjects = {
        "reference socket": partial(GatheringSubject, "reference socket"),
        "wrong": partial(GatheringSubject, "wrong", fake_subjects.one_byte_changed),
    }
    shared = placements()["shared"]
    effort = Effort(rounds=1, seconds=0.01, longest_round_seconds=1)

    found = measure(subjects, [Case(shared, 8, 1), Case(shared, 16, 2)], file, tmp_path, effort)

    assert "asked for 8 rows" in found.failed["wrong"]
    assert [(one["subject"], one["ids_per_fetch"]) for one in figures_of(found)] == [
        ("reference socket", 8),
        ("reference socket", 16),
    ]


def test_the_table_names_its_ratios_its_columns_stand_below_each_other_and_who_was_left_out_is_named(capsys):
    ratio = {"median": 1.0, "low": 0.9, "high": 1.1}
    of_case = {"ids_per_fetch": 65_536, "in_flight": 8, "placement": "shared"}
    times = {"p50_us": 5.0, "p99_us": 7.0, "client_cpu_us_per_row": 0.1}
    ratios = {"rate_to_reference": ratio, "p50_to_reference": ratio}
    slow = {"median": 1234567.0, "low": 1234567.0, "high": 1234567.0}
    figures = [
        {"subject": "reference socket", "rows_per_second": 2.5e6, **of_case, **times, **ratios},
        {"subject": "slow one", "rows_per_second": 1234.5, **of_case, **times, **ratios, "p50_to_reference": slow},
    ]

    print_table(figures, [{"subject": "slowest", "why": "a round would take about 12 s", **of_case}])

    _, legend, _, _, heading, reference, slow_one, left_out = capsys.readouterr().out.splitlines()
    assert "in parentheses the lowest and the highest round" in legend
    assert "rate to reference" in heading
    assert "p50 to reference" in heading
    assert len(heading) == len(reference) == len(slow_one)
    assert "2.500 M" in reference
    assert "1.234 k" in slow_one
    assert left_out == "left out: slowest, a round would take about 12 s"


def test_a_case_that_was_too_long_for_everybody_is_in_the_table_all_the_same(capsys):
    of_case = {"ids_per_fetch": 65_536, "in_flight": 8, "placement": "shared"}

    print_table([], [{"subject": "slowest", "why": "a round would take about 12 s", **of_case}])

    assert capsys.readouterr().out.splitlines()[-2:] == [
        "65536 rows a fetch, 8 in flight, cores shared",
        "left out: slowest, a round would take about 12 s",
    ]
