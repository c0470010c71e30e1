"""What lookups cost, from what `load` measured."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import node_process
from support.tables import write_table

from engram_client import pieces
from store_server.commands.failure import CommandFailed
from store_server.commands.plan.load_result import rate_from_load
from store_server.commands.plan.messages import PIECE_BYTES
from store_server.commands.plan.node_rate import Cost, fitted
from store_server.storage.fills import index_rows


def load_result(**changes: Any) -> dict[str, Any]:
    """What `load` writes, as far as a plan reads it: 1,000,000 rows/s in fetches of 1,000 rows of 264 bytes."""
    result = {
        "url": "grpc://127.0.0.1:50051",
        "row_bytes": 264,
        "load": {"loop": "closed", "processes": 2, "rows_per_fetch": 1000},
        "fetches": {"failed": 0},
        "rows_per_second": 1e6,
        "check": {"rows_wrong": 0},
        "client": {"cpu_share_of_a_core": 0.2, "is_the_limit": False},
    }
    for name, value in copy.deepcopy(changes).items():
        result[name] = {**result[name], **value} if isinstance(result.get(name), dict) else value
    return result


def written(directory: Path, *results: Any) -> list[Path]:
    files = [directory / f"{number}.json" for number in range(len(results))]
    for file, result in zip(files, results, strict=True):
        file.write_text(json.dumps(result))
    return files


def test_one_load_says_what_a_row_costs_in_requests_of_its_size(tmp_path: Path) -> None:
    rate = rate_from_load(written(tmp_path, load_result()))

    assert rate.node == pytest.approx(Cost(0.0, 1e-6))
    assert rate.client == pytest.approx(Cost(0.0, 2 * 0.2 / 1e6))
    assert (rate.sizes, rate.row_bytes, rate.remark) == ((1000,), 264, "")


def test_two_loads_tell_a_request_from_its_rows(tmp_path: Path) -> None:
    # 0.4 ms and 0.6 us a row: 256 rows take 0.5536 ms, 4,096 take 2.8576 ms. The client needs half a core all along.
    small = load_result(rows_per_second=256 / 0.0005536, load={"rows_per_fetch": 256, "processes": 1})
    large = load_result(rows_per_second=4096 / 0.0028576, load={"rows_per_fetch": 4096, "processes": 1})

    rate = rate_from_load(written(tmp_path, small, large))

    assert rate.node == pytest.approx(Cost(0.4e-3, 0.6e-6))
    assert rate.client == pytest.approx(Cost(0.2 * 0.4e-3, 0.2 * 0.6e-6))
    assert rate.node.rows_per_second(1000) == pytest.approx(1_000_000)


def test_a_large_fetch_counts_as_the_requests_that_it_is_cut_into(tmp_path: Path) -> None:
    rate = rate_from_load(written(tmp_path, load_result(load={"rows_per_fetch": 65_536})))

    assert rate.sizes == (8192,)
    assert PIECE_BYTES == pieces.PIECE_BYTES


def test_of_more_sizes_than_two_the_relative_errors_are_least() -> None:
    sizes, seconds = np.array([16, 256, 4096]), np.array([0.0003, 0.0006, 0.0024])

    found = fitted(sizes.tolist(), seconds.tolist())

    # The same by the normal equations of least squares, each line divided by what it should come to.
    lines = np.stack([1 / seconds, sizes / seconds], axis=1)
    assert found == pytest.approx(np.linalg.solve(lines.T @ lines, lines.T @ np.ones(3)), rel=1e-6)


def test_no_cost_is_negative_however_the_loads_were_disturbed() -> None:
    assert fitted([256, 4096], [0.001, 0.0005]) == pytest.approx(Cost(2 / (1 / 0.001 + 1 / 0.0005), 0))
    assert fitted([100, 200], [0.001, 0.004]) == pytest.approx(Cost(0, 1 / 75_000))


def test_a_busy_client_is_remarked_on(tmp_path: Path) -> None:
    rate = rate_from_load(written(tmp_path, load_result(client={"is_the_limit": True})))

    assert "the client was the limit" in rate.remark


def test_the_highest_rate_of_a_search_is_what_a_node_serves(tmp_path: Path) -> None:
    found = load_result(load={"loop": "open"}, find_rate={"highest_rate_per_second": 1000.0})

    assert rate_from_load(written(tmp_path, found)).node.rows_per_second(1000) == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (load_result(check={"rows_wrong": 3}), "3 rows were wrong"),
        (load_result(fetches={"failed": 2}), "2 fetches failed"),
        (load_result(rows_per_second=0.0), "no row arrived"),
        (load_result(load={"loop": "open"}), "at a fixed rate"),
        (load_result(load={"loop": "open"}, find_rate={"highest_rate_per_second": None}), "no rate kept"),
        (load_result(url="grpc://a:1,b:2"), "several nodes; measure one"),
        ({}, "is not what `engram-store load --json` writes"),
        ([], "is not what `engram-store load --json` writes"),
        (load_result(rows_per_second="many"), "is not what `engram-store load --json` writes"),
        (load_result(row_bytes=0), "is not what `engram-store load --json` writes"),
        (load_result(load={"rows_per_fetch": -1}), "is not what `engram-store load --json` writes"),
        (load_result(rows_per_second=float("inf")), "is not what `engram-store load --json` writes"),
    ],
)
def test_a_load_that_does_not_say_what_a_node_serves_is_refused(tmp_path: Path, result: Any, message: str) -> None:
    with pytest.raises(CommandFailed, match=message):
        rate_from_load(written(tmp_path, result))


def test_a_file_that_is_no_json_is_refused(run: Callable, tmp_path: Path) -> None:
    file = tmp_path / "load.txt"
    file.write_bytes(b"\xff\xfe rows")

    refused = run("plan", "--nodes", 4, "--from-load", file)

    assert (refused.status, refused.out) == (1, "")
    assert "load.txt is not what `engram-store load --json` writes" in refused.error


def test_loads_of_other_rows_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="rows of 128 and of 264 bytes"):
        rate_from_load(written(tmp_path, load_result(), load_result(row_bytes=128)))


def test_a_plan_takes_what_load_measured_on_a_real_node(run: Callable, tmp_path: Path) -> None:
    write_table(tmp_path / "root", "t", np.asarray(index_rows(np.arange(5000), 264)))
    file = tmp_path / "load.json"
    briefly = ("--warm-up", "50ms", "--duration", "300ms", "--rows", 64, "--concurrency", 2, "--json", file)
    model = ("--rows-a-token", 1, "--row-bytes", 264, "--table-bytes", "1320000", "--call-tokens", 64)

    with node_process(tmp_path / "root") as node:
        loaded = run("load", node.url, *briefly)
    planned = run("plan", "--nodes", 1, "--replicas", 1, "--from-load", file, *model, "--json")

    assert (loaded.status, planned.status) == (0, 0)
    measured = json.loads(file.read_text())["rows_per_second"]
    assert json.loads(planned.out)["rows_per_second"]["fully_used"] == pytest.approx(measured)
