"""A copy is killed at many points; what is held afterwards is right, and the next copy needs the rest only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.environment import with_tests
from support.rows import random_rows
from support.tables import write_table

# In a process of its own, without threads, so that it can fork: each child kills itself with SIGKILL at its k-th step,
# an audit event (open, rename, mkdir, lock, ...) or a block that comes. The parent then looks at what is left.
SCRIPT = """
import json, os, shutil, signal, sys
from pathlib import Path
import numpy as np
from support.rows import random_rows
from support.tables import write_table
from store_server.cluster.blocks.block_source import FileSource
from store_server.cluster.blocks.copying import copy_blocks
from store_server.storage import DataRoot, verify
from store_server.storage.held_blocks import held_blocks

origin, place, version, is_new = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "new"
rows = random_rows(3 * 4095 + 5, 264)
fetched = 0


class Counted(FileSource):
    def blocks(self, *arguments):
        global fetched
        for block in super().blocks(*arguments):
            fetched += 1
            yield block


class Dying(FileSource):
    def blocks(self, *arguments):
        for block in super().blocks(*arguments):
            step("block")
            yield block


steps, last = 0, 0


def step(event):
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)


def count(event, arguments):
    if event == "open" or event.startswith(("os.", "shutil.", "fcntl.", "ctypes.")):
        step(event)


def copy_and_die_at(number, root):
    global last
    last = number
    sys.addaudithook(count)
    copy_blocks(root, "t", version, None, [Dying(origin)], batch_bytes=1)


def outcome_of_death_at(number, root):
    child = os.fork()
    if child == 0:
        copy_and_die_at(number, root)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(root):
    seen = 0
    for name in root.table_names():
        for each in root.versions(name):
            list(verify(root, name, each))
            if each == version:
                stored = root.stored_version(name, each)
                held = np.flatnonzero(held_blocks(stored))
                seen = len(held)
                assert seen, "a version without a block"
                wanted = np.flatnonzero(np.isin(np.arange(len(rows)) // 4095, held))
                out = np.empty((len(wanted), 264), np.uint8)
                backend = root.open_backend(name, each)
                backend.gather(wanted, out)
                backend.close()
                assert np.array_equal(out, rows[wanted])
    assert all((table / "CURRENT").exists() for table in (root.path / "tables").iterdir())
    return seen


number, exit_code, held = 1, -signal.SIGKILL, []
while exit_code == -signal.SIGKILL:
    shutil.rmtree(place, ignore_errors=True)
    (place / "tables").mkdir(parents=True)
    if not is_new:
        write_table(place, "t", random_rows(10, 16))
    root = DataRoot.open(place)
    exit_code = outcome_of_death_at(number, root)
    held.append(check(root))
    fetched = 0
    copy_blocks(root, "t", version, None, [Counted(origin)], batch_bytes=1)
    assert check(root) == 4
    assert fetched <= 4 - held[-1], (number, fetched)
    number += int(sys.argv[5])
print(json.dumps({"exit_code": exit_code, "deaths": len(held) - 1, "held": sorted(set(held))}))
"""


@pytest.mark.parametrize("table", ["new", "old"])
def test_a_copy_killed_at_any_step_leaves_no_wrong_block_and_the_next_one_goes_on(tmp_path: Path, table: str) -> None:
    version = write_table(tmp_path / "origin", "t", random_rows(3 * 4_095 + 5, 264))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "origin"), str(tmp_path / "root"), version, table, "9"]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, env=with_tests())

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["exit_code"] == 0
    assert found["deaths"] >= 12
    assert found["held"] == [0, 1, 2, 3, 4]
