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
    assert verified.out.count("  3 blocks  2,376,000 bytes\n") == 2


def test_the_first_bad_block_is_named_and_the_other_tables_are_verified_all_the_same(run: Callable, root: Path) -> None:
    for name in ("a", "b"):
        run("create", root, name, "--rows", 9_000, "--row-bytes", 264)
    path = damage(root, "a", 4_095 * 264 + 5)

    verified = run("verify", root)

    assert verified.status == 1
    assert verified.error == f"error: damaged or unreadable: a {path.parent.name}"
    line = f"error: a: block 1 (rows 4,095 to 8,189) is not what was stored: {path}, from byte 1,081,080"
    assert verified.err.splitlines().count(line) == 1
    damaged, ok = verified.out.splitlines()
    assert damaged == f"damaged  a  {path.parent.name}  block 1  rows 4,095 to 8,189"
    assert ok.startswith("ok  b")


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_table_may_be_verified_alone(run: Callable, root: Path, name: str) -> None:
    for table in ("a", "b"):
        run("create", root, table, "--rows", 9_000, "--row-bytes", 264)
    damage(root, "a", 0)

    assert run("verify", root, name).status == (1 if name == "a" else 0)


@pytest.fixture
def versions(run: Callable, root: Path, tmp_path: Path) -> list[str]:
    """Three versions of "t", the last one current."""
    names = []
    for content in (b"one", b"two", b"six"):
        (tmp_path / "rows").write_bytes(content)
        run("import", root, "t", tmp_path / "rows", "--row-bytes", 3)
        names.append((root / "tables" / "t" / "CURRENT").read_text().strip())
    return names


def test_all_versions_that_a_node_would_serve_are_verified(run: Callable, root: Path, versions: list[str]) -> None:
    verified = run("verify", root)

    assert [line.split()[:3] for line in verified.out.splitlines()] == [["ok", "t", each] for each in sorted(versions)]
    assert run("verify", root, "t", "--version", versions[0]).out.split()[2] == versions[0]


def unreadable(version: Path) -> None:
    (version / "table.json").unlink()
    (version / "table.json").mkdir()


@pytest.mark.parametrize("which", [0, 2], ids=["old", "current"])
@pytest.mark.parametrize(
    "harm",
    [
        lambda version: version.rename(version.parent.parent / "elsewhere"),
        lambda version: (version / "table.json").unlink(),
        lambda version: (version / "rows.bin").unlink(),
        unreadable,
    ],
    ids=["moved", "no manifest", "no rows", "unreadable"],
)
def test_a_version_that_is_missing_or_unreadable_keeps_no_other_from_being_verified(
    run: Callable, root: Path, versions: list[str], harm: Callable[[Path], None], which: int
) -> None:
    run("create", root, "u", "--rows", 1, "--row-bytes", 1)
    is_gone = harm(root / "tables" / "t" / "versions" / versions[which]) is not None

    verified = run("verify", root)

    intact = {line.split()[2] for line in verified.out.splitlines() if line.startswith("ok  t")}
    assert intact == set(versions) - {versions[which]}
    assert "ok  u" in verified.out
    if which == 0 and is_gone:  # then nothing says that there should be one
        assert verified.status == 0
    else:
        assert verified.status == 1
        assert verified.error == f"error: damaged or unreadable: t {versions[which]}"
        assert f"unreadable  t  {versions[which]}\n" in verified.out


def test_a_table_whose_current_is_nonsense_keeps_no_other_from_being_verified(
    run: Callable, root: Path, versions: list[str]
) -> None:
    run("create", root, "u", "--rows", 1, "--row-bytes", 1)
    (root / "tables" / "t" / "CURRENT").write_text("nonsense")

    verified = run("verify", root)

    assert verified.status == 1
    assert [line.split()[:2] for line in verified.out.splitlines()] == [["unreadable", "t"], ["ok", "u"]]
    assert "CURRENT: is not the name of a version" in verified.err
    assert verified.error == "error: damaged or unreadable: t"


def test_a_version_that_is_not_there_is_an_error_of_its_own(run: Callable, root: Path, versions: list[str]) -> None:
    assert "has no version '12'" in run("verify", root, "t", "--version", "12").error
    assert "no table 'none'" in run("verify", root, "none").error
