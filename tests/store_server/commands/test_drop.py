from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from store_server.storage import DataRoot


def test_an_old_version_is_dropped_and_the_current_one_is_not(run: Callable, root: Path, tmp_path: Path) -> None:
    versions = []
    for content in (b"old", b"new"):
        (tmp_path / "rows").write_bytes(content)
        run("import", root, "t", tmp_path / "rows", "--row-bytes", 3)
        versions.append(DataRoot.open(root).current_version("t"))

    refused = run("drop", root, "t", versions[1])
    dropped = run("drop", root, "t", versions[0])

    assert "is the current one" in refused.error
    assert (dropped.status, dropped.out) == (0, f"dropped t {versions[0]}\n")
    assert DataRoot.open(root).versions("t") == [versions[1]]
