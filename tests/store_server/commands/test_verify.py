from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def damage(root: Path, table: str, place: int) -> Path:
    path = next(root.glob(f"tables/{table}/versions/*/rows.*"))
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    return path


def test_intact_tables_are_ok(run: Callable, root: Path) -> None:
    run("create", root, "a", "--rows", 9_000, "--row-bytes", 264)
    run("create", root, "b", "--rows", 9_000, "--row-bytes", 264, "--backend", "lmdb")

    verified = run("verify", root)

    assert verified.status == 0
    assert [line.split()[:2] for line in verified.out.splitlines()] == [["ok", "a"], ["ok", "b"]]


def test_the_first_bad_block_is_named_and_the_other_tables_are_verified_all_the_same(run: Callable, root: Path) -> None:
    for name in ("a", "b"):
        run("create", root, name, "--rows", 9_000, "--row-bytes", 264)
    path = damage(root, "a", 4_095 * 264 + 5)

    verified = run("verify", root)

    assert verified.status == 1
    assert verified.error == "error: damaged: a"
    assert f"{path}: block 1 (rows 4095 to 8189, at byte 1081080) has another digest" in verified.err
    assert verified.out.startswith("ok  b")


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_table_may_be_verified_alone(run: Callable, root: Path, name: str) -> None:
    for table in ("a", "b"):
        run("create", root, table, "--rows", 9_000, "--row-bytes", 264)
    damage(root, "a", 0)

    assert run("verify", root, name).status == (1 if name == "a" else 0)
