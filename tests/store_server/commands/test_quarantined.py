"""A version in quarantine as commands show it, and the ways out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from store_server.storage import DataRoot
from store_server.storage.data_root import PlacedVersion
from store_server.storage.version_quarantine import QUARANTINED, put_in_quarantine

REASON = "workers that read it ended 2 times, the last one killed by SIGBUS"


@pytest.fixture
def quarantined(run: Callable, root: Path) -> PlacedVersion:
    run("create", root, "t", "--rows", 100, "--row-bytes", 264)
    data_root = DataRoot.open(root)
    version = data_root.current_version("t")
    placed = PlacedVersion("t", version, data_root.place("t", version))
    put_in_quarantine(data_root, placed, REASON)
    return placed


def test_tables_and_inspect_say_that_a_version_is_in_quarantine_and_why(
    run: Callable, root: Path, quarantined: PlacedVersion
) -> None:
    listed, inspected = run("tables", root), run("inspect", root, "t")

    assert (listed.status, listed.out.splitlines()[1].split()[-1]) == (1, "quarantined")
    assert REASON in listed.err
    assert inspected.status == 1
    assert inspected.out.splitlines()[0].startswith(f"state        in quarantine: {REASON}, since 20")
    assert quarantined.version in inspected.out


def test_verify_lifts_the_quarantine_of_a_version_that_is_sound(
    run: Callable, root: Path, quarantined: PlacedVersion
) -> None:
    verified = run("verify", root)

    assert (verified.status, verified.out.split()[-2:]) == (0, ["quarantine", "lifted"])
    assert run("tables", root).status == 0
    assert run("verify", root).out.split()[-1] == "bytes"
    assert DataRoot.open(root).place("t", quarantined.version) == quarantined.place


def test_verify_leaves_a_damaged_version_in_quarantine(run: Callable, root: Path, quarantined: PlacedVersion) -> None:
    with next(root.rglob("rows.bin")).open("r+b") as file:
        file.write(b"\xff" * 8)

    verified = run("verify", root)

    assert (verified.status, verified.out.split()[0]) == (1, "damaged")
    assert (DataRoot.open(root).version_path("t", quarantined.version) / QUARANTINED).exists()


def test_the_same_version_published_again_is_in_no_quarantine(
    run: Callable, root: Path, quarantined: PlacedVersion
) -> None:
    data_root = DataRoot.open(root)
    rows = root.parent / "rows"
    rows.write_bytes(next(root.rglob("rows.bin")).read_bytes())

    imported = run("import", root, "t", rows, "--row-bytes", 264)

    assert imported.status == 0
    assert data_root.current_version("t") == quarantined.version
    assert run("tables", root).status == 0
