"""Every command that writes, on a disk that does not let it: one clear line, nothing left, and the same again later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from chaos.disk.commands import run
from chaos.disk.disks import DISKS, Disk, failing
from support.rows import random_rows
from support.tables import write_table

from store_server.storage import DataRoot, verify
from store_server.storage.checkpoint import SyntheticCheckpoint, write_checkpoint

ROWS = random_rows(3 * 4_095, 264)
OLD, NEW = ROWS[::-1].copy(), ROWS[::2].copy()


def drop(root: Path, files: Path) -> list[object]:
    return ["drop", root, "t", write_table(files / "elsewhere", "t", OLD)]


def backup(root: Path, files: Path) -> list[object]:
    """Into a backup that has older versions already."""
    write_table(files / "elsewhere", "t", NEW)
    return ["backup", files / "elsewhere", root]


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "import": lambda root, files: ["import", root, "t", files / "new.npy"],
    "import-lmdb": lambda root, files: ["import", root, "t", files / "new.npy", "--backend", "lmdb"],
    "import-new": lambda root, files: ["import", root, "new", files / "new.npy"],
    "patch": lambda root, files: ["patch", root, "t", "--ids", files / "ids.npy", "--rows", files / "rows.npy"],
    "attach": lambda root, files: ["attach", root, "ck", "--checkpoint", files / "ck"],
    "create": lambda root, _: ["create", root, "new", "--rows", "1000", "--row-bytes", "264"],
    "drop": drop,
    "backup": backup,
}
_IN_SHORT = {"import", "patch", "drop", "backup"}
# A full disk keeps nobody from dropping.
CASES = [
    pytest.param(disk, command, marks=[] if command in _IN_SHORT else [pytest.mark.long])
    for disk in DISKS
    for command in COMMANDS
    if (disk, command) != ("full", "drop")
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What is imported, on a sound disk."""
    np.save(tmp_path / "new.npy", NEW)
    np.save(tmp_path / "ids.npy", np.array([5, 9_000]))
    np.save(tmp_path / "rows.npy", NEW[:2])
    write_checkpoint(tmp_path / "ck", SyntheticCheckpoint(scale=1e-6))
    return tmp_path


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with DISKS[request.param](tmp_path) as disk:
        yield disk


@pytest.fixture
def root(disk: Disk) -> Path:
    write_table(disk.place / "root", "t", OLD)
    write_table(disk.place / "root", "t", ROWS)
    return disk.place / "root"


@pytest.mark.parametrize(("disk", "command"), CASES, indirect=["disk"])
def test_a_command_fails_in_one_line_leaves_everything_as_it_was_and_succeeds_once_the_disk_is_mended(
    disk: Disk, root: Path, files: Path, command: str
) -> None:
    arguments, before = COMMANDS[command](root, files), versions_in(root)

    disk.fail()
    failed = run(*arguments)
    during = versions_in(root)
    disk.mend()
    again = run(*arguments)

    assert failed.status == 1
    assert str(disk.place) in failed.error
    assert disk.cause in failed.error
    assert "needs 0 bytes" not in failed.error
    assert during == before
    assert (again.status, again.err.count("error: ")) == (0, 0), again.err
    assert versions_in(root) != before
    assert list((root / "staging").iterdir()) == []


def test_a_source_that_cannot_be_read_is_an_error_that_names_it_and_nothing_is_stored(tmp_path: Path) -> None:
    with failing("read", "new.npy")(tmp_path) as disk:
        np.save(disk.place / "new.npy", NEW)
        root = tmp_path / "root"
        write_table(root, "t", ROWS)
        before = versions_in(root)
        disk.fail()

        failed = run("import", root, "t", disk.place / "new.npy")

        assert (failed.status, failed.error) == (1, f"error: {disk.place / 'new.npy'}: Input/output error")
        assert versions_in(root) == before
        disk.mend()
        assert run("import", root, "t", disk.place / "new.npy").status == 0


@pytest.mark.parametrize(("backend", "file"), [("mmap", "rows.bin"), ("lmdb", "rows.lmdb"), ("mmap", "table.json")])
def test_a_backup_names_the_file_that_cannot_be_read_and_has_all_the_rest(
    tmp_path: Path, backend: str, file: str
) -> None:
    with failing("read", f"*/bad/*/{file}")(tmp_path) as disk:
        root, to = disk.place / "root", tmp_path / "backup"
        bad = write_table(root, "bad", OLD, backend=backend)
        good = write_table(root, "good", ROWS)
        disk.fail()

        failed = run("backup", root, to)

        path = root / "tables" / "bad" / "versions" / bad / file
        assert failed.status == 1
        assert f"error: {path}: " in failed.err
        assert "Input/output error" in failed.err
        assert f"unreadable bad  {bad}\n" in failed.out
        assert failed.err.splitlines()[-1] == "error: the backup lacks 1 version, see above"
        assert versions_in(to) == {"good": (good,)}
        disk.mend()
        assert run("backup", root, to).status == 0
        assert versions_in(to) == {"bad": (bad,), "good": (good,)}


def test_a_root_on_a_read_only_disk_can_be_backed_up(tmp_path: Path) -> None:
    with DISKS["read-only"](tmp_path) as disk:
        version = write_table(disk.place / "root", "t", ROWS)
        disk.fail()

        backed_up = run("backup", disk.place / "root", tmp_path / "backup")

        assert (backed_up.status, backed_up.err.count("error: ")) == (0, 0), backed_up.err
        assert versions_in(tmp_path / "backup") == {"t": (version,)}


def versions_in(root: Path) -> dict[str, tuple[str, ...]]:
    """The versions of each table, the current one first, each found to be as it was published."""
    data_root, found = DataRoot.open(root), {}
    for name in data_root.table_names():
        current = data_root.current_version(name)
        found[name] = (current, *(version for version in data_root.versions(name) if version != current))
        for version in found[name]:
            if not data_root.manifest(name, version).is_attached:
                list(verify(data_root, name, version))
    return found
