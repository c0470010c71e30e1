from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.backups import verified
from support.checkpoints import attach_rows
from support.rows import random_rows
from support.tables import write_table

ROWS = random_rows(99, 264)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_a_backup_says_what_it_copied_and_verify_finds_it_sound(run: Callable, root: Path, to: Path) -> None:
    version = write_table(root, "a/b", ROWS[:10])

    first = run("backup", root, to)
    again = run("backup", root, to)
    checked = run("verify", to)

    assert first.status == again.status == checked.status == 0
    assert first.out == f"copied    a/b  {version}  2,640 bytes\nbackup   {to}  1 version, 2,640 bytes copied\n"
    assert again.out == f"backup   {to}  1 version, 0 bytes copied\n"
    assert checked.out == f"ok  a/b  {version}  1 blocks  2,640 bytes\n"


def test_what_is_attached_is_said_to_be_there_without_its_rows(run: Callable, root: Path, to: Path) -> None:
    root.mkdir()
    version = attach_rows(root, "t", ROWS[:99])

    assert f"attached  t  {version}  its rows stay in the checkpoint's files\n" in run("backup", root, to).out


def test_what_cannot_be_read_is_an_error_and_keeps_nothing_else_from_being_copied(
    run: Callable, root: Path, to: Path
) -> None:
    bad, good = write_table(root, "bad", ROWS[:9]), write_table(root, "good", ROWS[:10])
    (root / "tables" / "bad" / "versions" / bad / "rows.bin").unlink()

    failed = run("backup", root, to, "--prune")

    assert failed.status == 1
    assert f"unreadable bad  {bad}\ncopied    good  {good}  2,640 bytes\n" in failed.out
    assert "rows.bin: the data file is missing\n" in failed.err
    assert failed.error == "error: the backup lacks 1 version, see above; nothing was removed"
    assert verified(to) == {"good": [good]}


def test_a_place_that_is_no_place_for_a_backup_is_refused_and_left_alone(
    run: Callable, root: Path, tmp_path: Path
) -> None:
    write_table(root, "t", ROWS[:9])
    others = tmp_path / "others"
    others.mkdir()
    (others / "file").touch()

    inside = run("backup", root, root / "backup")
    around = run("backup", root, tmp_path)
    strange = run("backup", root, others)
    nowhere = run("backup", tmp_path / "no-root", tmp_path / "backup")

    assert inside.error == f"error: {root / 'backup'} and {root} must lie apart: neither is to be in the other"
    assert around.error == f"error: {tmp_path} and {root} must lie apart: neither is to be in the other"
    assert strange.error.startswith(f"error: {others} is neither empty nor a data root: ")
    assert (
        nowhere.error
        == f"error: no data root at {tmp_path / 'no-root'}: no such directory; `create` or `import` makes a data root"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others", "root"]
    assert [path.name for path in others.iterdir()] == ["file"]


def test_a_root_without_tables_removes_nothing_from_a_backup(run: Callable, root: Path, to: Path) -> None:
    version = write_table(root, "t", ROWS[:9])
    run("backup", root, to)
    run("drop", root, "t", "--all")

    refused = run("backup", root, to, "--prune")

    assert refused.error == f"error: {root} has no tables: --prune would remove all that is in {to}"
    assert verified(to) == {"t": [version]}


def test_a_rate_is_a_number_of_bytes(run: Callable, root: Path, to: Path) -> None:
    write_table(root, "t", ROWS[:9])

    assert (
        run("backup", root, to, "--rate", "0").error
        == "error: Invalid value for --rate: must be at least 1 byte a second"
    )
    assert run("backup", root, to, "--rate", "64MiB").status == 0
