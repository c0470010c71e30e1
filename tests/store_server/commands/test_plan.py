"""`engram-store plan` as people and programs use it: what it prints, and what it refuses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

V41_AT_A_MILLION = ["plan", "--tokens-per-second", "1M", "--rows-per-second-a-node", "1.8M"]
QUESTIONS = {
    "v4.1 at a million tokens a second": V41_AT_A_MILLION,
    "as a small machine was measured": ["plan", "--tokens-per-second", "1M"],
    "failure domains": ["plan", "--tokens-per-second", "100k", "--domains", 3, "--replicas", 3, "--after-cache", "80%"],
    "small calls": ["plan", "--tokens-per-second", "20k", "--call-tokens", 64, "--model", "paper-27b"],
    "a slow network": ["plan", "--tokens-per-second", "1M", "--network", "1G", "--after-deduplication", "0.674"],
    "row numbers wider than rows": [
        *("plan", "--tokens-per-second", "1M", "--rows-a-token", 2),
        *("--row-bytes", 4, "--table-bytes", "1GB", "--tables", 2),
    ],
    "one copy": ["plan", "--tokens-per-second", "1k", "--replicas", 1],
    "what four nodes sustain": ["plan", "--nodes", 4, "--rows-per-second-a-node", "1.5M"],
    "what six nodes on two machines sustain": ["plan", "--nodes", 6, "--nodes-a-machine", 3, "--domains", 2],
}


def evaluated(words: str) -> float:
    """Work out what is left of an arithmetic when its words are taken away."""
    text = re.sub(r"\bx\b", "*", words.replace(",", ""))
    rounded_up = "rounded up" in text
    value = eval(re.sub(r"[A-Za-z]+(/s)?", "", text))  # noqa: S307  # digits and operators only
    return math.ceil(value) if rounded_up else value


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_line_comes_to_what_its_arithmetic_says(run: Callable, question: str) -> None:
    shown = run(*QUESTIONS[question])

    assert shown.status == 0
    sums = [line for line in shown.out.splitlines() if " = " in line]
    assert len(sums) >= 10
    for line in sums:
        words, _, result = line.rpartition(" = ")
        expected = float(re.match(r"[0-9.,]*[0-9]", result)[0].replace(",", ""))
        arithmetic = re.sub(r"^(ONE FAILURE DOMAIN LOST|.{15} )", "", words).rpartition(", ")[2]
        assert evaluated(arithmetic) == pytest.approx(expected, rel=0.01, abs=0.006), line


@pytest.mark.parametrize("question", QUESTIONS)
def test_programs_get_the_same_figures_as_one_json_object(run: Callable, question: str) -> None:
    arguments = QUESTIONS[question]

    shown, told = run(*arguments).out, json.loads(run(*arguments, "--json").out)

    assert re.search(rf"EACH OF {told['nodes']} nodes?$", shown, re.MULTILINE)
    assert f"= {told['each_node']['memory_bytes'] / 1e9:,.6g} GB" in shown
    assert f"of {told['asked_for']['model']['row_bytes']} bytes" in shown
    assert ("ONE NODE LOST" in shown) == (told["one_node_lost"] is not None)
    assert ("ONE FAILURE DOMAIN LOST" in shown) == (told["one_domain_lost"] is not None)


def test_v41_at_a_million_tokens_a_second_takes_39_nodes_of_1_8_million_rows(run: Callable) -> None:
    shown = run(*V41_AT_A_MILLION).out.splitlines()

    assert "tokens/s x 48 rows = 48,000,000 rows/s" in shown[2]
    assert shown[6:13] == [
        "memory          202.758 GB x 2 copies / (274.878 GB x 0.7) = 2.108 -> 3 nodes",
        "disk            202.758 GB x 2 copies x 2 versions / (2,000 GB x 0.7) = 0.5793 -> 1 node",
        "network         107.7 Gbit/s / (25 Gbit/s x 0.7) = 6.157 -> 7 nodes",
        "rows            48,000,000 rows/s / (1,800,000 rows/s x 0.7) = 38.1 -> 39 nodes",
        "replicas        2 copies of each row, on a node each -> 2 nodes",
        "one node lost   27 fully used suffice for all of it, and 1 to lose -> 28 nodes",
        "it takes        39 nodes, because of rows",
    ]


def test_what_nodes_sustain_is_what_they_serve_together(run: Callable) -> None:
    told = json.loads(run("plan", "--nodes", 4, "--rows-per-second-a-node", "1.5M", "--json").out)

    assert told["limit"] == "rows"
    assert told["rows_per_second"] == pytest.approx({"fully_used": 6_000_000, "to_spare": 4_200_000})
    assert told["tokens_per_second"] == pytest.approx({"fully_used": 125_000, "to_spare": 87_500})


def test_nodes_on_one_machine_share_what_it_has(run: Callable) -> None:
    told = json.loads(
        run(
            *("plan", "--nodes", 4, "--nodes-a-machine", 4, "--rows-per-second-a-node", "1.5M", "--json"),
            *("--rows-a-token", 1, "--row-bytes", 264, "--table-bytes", "1GB"),
        ).out
    )

    assert told["rows_per_second"]["fully_used"] == pytest.approx(1_500_000)
    assert told["tokens_per_second_by"]["network"] == pytest.approx(25e9 / 8 / 264 * 1448 / 1538, rel=0.01)


def test_a_node_lost_leaves_less_to_spare(run: Callable) -> None:
    told = json.loads(run(*V41_AT_A_MILLION, "--domains", 3, "--json").out)

    assert told["nodes"] == 41  # 27 fully used must be left when 14 are lost
    assert told["limits"] == ["one domain lost"]
    assert told["each_node"]["used"]["rows"] == pytest.approx(48 / 1.8 / 41)
    assert told["one_node_lost"]["nodes"] == 40
    assert told["one_node_lost"]["used"]["rows"] == pytest.approx(48 / 1.8 / 40)
    assert told["one_domain_lost"]["nodes"] == 27
    assert told["one_domain_lost"]["used"]["rows"] == pytest.approx(48 / 1.8 / 27)


def test_too_few_nodes_for_a_loss_are_said_to_be(run: Callable) -> None:
    shown = run("plan", "--nodes", 2, "--rows-per-second-a-node", "1M", "--ram", "205GB").out

    assert "1.40 used would be needed: LOOKUPS ARE LATE or fail" in shown


def test_figures_that_are_not_of_ones_own_machines_are_marked(run: Callable) -> None:
    assert "NOTE  what a request and a row cost was not given" in run("plan", "--tokens-per-second", "1M").out
    assert "NOTE" not in run(*V41_AT_A_MILLION).out
    assert "NOTE  one copy" in run(*V41_AT_A_MILLION, "--replicas", 1).out
    assert "4 copies in 3 failure domains" in run(*V41_AT_A_MILLION, "--replicas", 4, "--domains", 3).out


def test_a_cost_that_was_measured_otherwise_is_marked(run: Callable) -> None:
    of_small_requests = " ".join(run("plan", "--tokens-per-second", "1k", "--call-tokens", 4).out.split())
    of_other_rows = " ".join(run("plan", "--tokens-per-second", "1k", "--model", "study").out.split())

    assert "measured with 256 and 4,096: measure with --rows 32 too" in of_small_requests
    assert "rows have 128 bytes and what a row costs was measured with 264" in of_other_rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --tokens-per-second"),
        (["--tokens-per-second", "1M", "--nodes", 4], "leave one out"),
        (["--tokens-per-second", "0"], "above 0"),
        (["--tokens-per-second", "-5"], "above 0"),
        (["--tokens-per-second", "nan"], "above 0"),
        (["--tokens-per-second", "999999G"], "at most 1,000,000,000,000"),
        (["--nodes", 0], "--nodes"),
        (["--nodes", 4, "--rows-per-second-a-node", 0], "above 0"),
        (["--nodes", 4, "--network", 0], "above 0"),
        (["--nodes", 4, "--client-us-a-row", 0], "--client-us-a-row"),
        (["--nodes", 4, "--client-us-a-row", "nan"], "above 0"),
        (["--nodes", 4, "--ram", 0], "--ram must be above 0"),
        (["--nodes", 4, "--disk", 0], "--disk must be above 0"),
        (["--nodes", 4, "--most-used", "0"], "above 0 and at most 1"),
        (["--nodes", 4, "--most-used", "101%"], "above 0 and at most 1"),
        (["--nodes", 4, "--after-cache", "1.5"], "above 0 and at most 1"),
        (["--nodes", 4, "--after-deduplication", "nan"], "above 0 and at most 1"),
        (["--nodes", 4, "--replicas", 0], "--replicas"),
        (["--nodes", 4, "--domains", 1], "--domains"),
        (["--nodes", 4, "--model", "gpt"], "--model"),
        (["--nodes", 4, "--model", "study", "--row-bytes", 8], "leave one out"),
        (["--nodes", 4, "--row-bytes", 8], "needs --rows-a-token, --table-bytes as well"),
        (["--nodes", 4, "--tables", 2], "needs --rows-a-token, --row-bytes, --table-bytes as well"),
        (["--nodes", 4, "--rows-a-token", 1, "--row-bytes", 0, "--table-bytes", "1GB"], "1 to 1,048,576"),
        (["--nodes", 4, "--rows-a-token", 1, "--row-bytes", 8, "--table-bytes", 0], "--table-bytes must be above 0"),
        (["--nodes", 4, "--rows-a-token", 1, "--row-bytes", 8, "--table-bytes", 7], "less than one row"),
        (["--nodes", 4, "--from-load", "no-such-file"], "no-such-file"),
    ],
)
def test_bad_usage_is_one_line(run: Callable, arguments: list[object], message: str) -> None:
    refused = run("plan", *arguments)

    assert (refused.status, refused.out) == (2, "")
    assert message in refused.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", 2, "--replicas", 3], "3 replicas need as many nodes, got --nodes 2"),
        (["--nodes", 2, "--domains", 3], "3 failure domains need as many nodes, got --nodes 2"),
        (["--nodes", 4, "--ram", "100GB"], "each of 4 nodes must hold 101.379 GB in its memory, which has 100 GB"),
        (["--nodes", 4, "--disk", "200GB"], "each of 4 nodes must hold 202.758 GB in its disk, which has 200 GB"),
        (["--tokens-per-second", "1", "--ram", "1MB"], "memory: more than 1,000 nodes"),
        (["--tokens-per-second", "1G"], "network: more than 1,000 nodes"),
        (["--tokens-per-second", "1M", "--call-tokens", 64], "31,250 requests/s x 370 us keep each 11.56 busy"),
    ],
)
def test_what_cannot_be_is_refused_with_the_figures(run: Callable, arguments: list[object], message: str) -> None:
    refused = run("plan", *arguments)

    assert (refused.status, refused.out) == (1, "")
    assert message in refused.error


def test_rates_are_refused_beside_those_of_a_file(run: Callable, tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    file.write_text("{}")

    refused = run("plan", "--nodes", 4, "--from-load", file, "--rows-per-second-a-node", "1M")

    assert (refused.status, refused.out) == (2, "")
    assert "leave one out" in refused.error
