"""A backup of a data root that changes while it is being copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.backups import back_up, outcomes, rows_in, verified
from support.parts import make_part, manifest_of, writer_of
from support.rows import random_rows
from support.tables import write_table

from store_server.storage import root_writer

BLOCK_ROWS = 4_095
OLD, NEW = random_rows(6 * BLOCK_ROWS, 264), random_rows(5 * BLOCK_ROWS, 264, seed=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def once(act: Callable[[], object]) -> Callable[[str], None]:
    """Act when the first blocks of any table were copied."""
    acts = [act]

    def between(_table: str) -> None:
        if acts:
            acts.pop()()

    return between


def test_a_switch_in_mid_copy_is_for_the_next_backup(root: Path, to: Path) -> None:
    old = write_table(root, "t", OLD)

    back_up(root, to, between=once(lambda: write_table(root, "t", NEW)))
    between = verified(to)
    back_up(root, to)

    assert between == {"t": [old]}
    assert verified(to) == verified(root)
    assert np.array_equal(rows_in(to, "t"), NEW)


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_version_that_is_dropped_in_mid_copy_is_copied_to_its_end(root: Path, to: Path, backend: str) -> None:
    old = write_table(root, "t", OLD, backend=backend)

    def swap_and_drop() -> None:
        write_table(root, "t", NEW)
        with root_writer(root) as writer:
            writer.drop("t", old)

    back_up(root, to, between=once(swap_and_drop))

    assert verified(to) == {"t": [old]}
    assert np.array_equal(rows_in(to, "t"), OLD)


def test_a_current_version_that_is_dropped_before_its_turn_gives_way_to_the_one_after_it(root: Path, to: Path) -> None:
    write_table(root, "a", OLD)
    old = write_table(root, "b", OLD[: 3 * BLOCK_ROWS])
    older = write_table(root, "b", OLD[:BLOCK_ROWS])
    with root_writer(root) as writer:
        writer.make_current("b", old)

    def swap_and_drop() -> None:
        write_table(root, "b", NEW)
        with root_writer(root) as writer:
            writer.drop("b", old)

    back_up(root, to, between=once(swap_and_drop))

    assert set(verified(to)["b"]) == {*verified(root)["b"]}
    assert older in verified(to)["b"]
    assert np.array_equal(rows_in(to, "b"), NEW)


def test_a_table_and_an_older_version_that_are_dropped_before_their_turn_are_left_out_without_an_error(
    root: Path, to: Path
) -> None:
    older, current = write_table(root, "a", NEW), write_table(root, "a", OLD)
    write_table(root, "b", OLD)

    def drop() -> None:
        with root_writer(root) as writer:
            writer.drop("a", older)
            writer.drop_table("b")

    backed_up = back_up(root, to, between=once(drop))

    assert outcomes(backed_up) == {("a", current): "copied"}
    assert verified(to) == {"a": [current]}


def test_the_same_version_published_again_in_mid_copy_changes_nothing(root: Path, to: Path) -> None:
    version = write_table(root, "t", OLD)

    back_up(root, to, between=once(lambda: write_table(root, "t", OLD, backend="lmdb")))

    assert verified(to) == {"t": [version]}
    assert np.array_equal(rows_in(to, "t"), OLD)


def test_blocks_that_a_node_lets_go_of_in_mid_copy_are_not_held_in_the_backup(
    root: Path, to: Path, tmp_path: Path
) -> None:
    version = write_table(tmp_path / "elsewhere", "t", OLD)
    make_part(root, "t", OLD, manifest_of(tmp_path / "elsewhere", "t"), [0, 1, 3, 5])

    def let_go() -> None:
        with writer_of(root, "t") as writer:
            writer.let_go([(3, 4), (5, 6)])
            writer.give_back([(3, 4), (5, 6)])

    back_up(root, to, between=once(let_go))

    assert verified(to) == {"t": [version]}
    with writer_of(to, "t") as writer:
        assert np.flatnonzero(writer.held()).tolist() == [0, 1]
