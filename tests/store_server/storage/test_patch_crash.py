"""A patch is killed at every step that Python can see; the root must hold the old version or the new, whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.environment import with_tests

# Runs in a process of its own, without threads, so that it can fork.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from support.death_at_step import exit_code_of_death_at
from support.patches import patch_table, with_rows
from support.rows import random_rows
from support.tables import write_table
from store_server.storage import DataRoot, root_writer, verify

root, ids = Path(sys.argv[1]), json.loads(sys.argv[2])
table = random_rows(3 * 4_095 + 1, 264)
old = write_table(root, "t", table)


def current():
    data_root = DataRoot.open(root)
    for version in data_root.versions("t"):
        list(verify(data_root, "t", version))
    version = data_root.current_version("t")
    backend = data_root.open_backend("t", version)
    rows = np.concatenate(list(backend.blocks()))
    backend.close()
    return version, rows


seen, step, exit_code = [], 0, -signal.SIGKILL
while exit_code == -signal.SIGKILL:
    step += 1
    rows = random_rows(len(ids), 264, seed=step)
    exit_code = exit_code_of_death_at(step, lambda: patch_table(root, "t", ids, rows))
    version, found = current()
    patched = with_rows(table, ids, rows)
    seen.append("old" if version == old else "new")
    assert np.array_equal(found, table if version == old else patched), step
    if seen[-1] == "new":
        with root_writer(root) as writer:
            writer.drop("t", old)
        old, table = version, patched
        assert np.array_equal(current()[1], patched), step
patch_table(root, "t", ids, random_rows(len(ids), 264, seed=0))
print(json.dumps({"exit_code": exit_code, "steps": step, "seen": seen, "left": os.listdir(root / "staging")}))
"""


@pytest.mark.parametrize("ids", [[5, 4_094], [5, 4_095, 8_190]], ids=["beside", "whole"])
def test_a_patch_killed_at_any_step_leaves_the_old_version_or_the_new_and_the_next_patch_works(
    root: Path, ids: list[int]
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), json.dumps(ids)],
        check=False,
        capture_output=True,
        text=True,
        env=with_tests(),
        timeout=100,
    )

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["exit_code"] == 0
    assert found["steps"] > 20
    assert found["seen"][0] == "old"
    assert found["seen"][-1] == "new"
    assert found["left"] == []
