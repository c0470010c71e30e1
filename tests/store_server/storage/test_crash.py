"""A writer is killed at every step that Python can see; the root must hold the old version or the new, whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.environment import with_tests

# Runs in a process of its own, without threads, so that it can fork.
SCRIPT = """
import json, signal, sys
from pathlib import Path
import numpy as np
from support.death_at_step import exit_code_of_death_at
from store_server.storage import DataRoot, TableSpec, root_writer, verify

root, backend = Path(sys.argv[1]), sys.argv[2]
rows = np.random.default_rng(0).integers(0, 256, (9_000, 264), dtype=np.uint8)
spec = TableSpec(num_rows=9_000, row_bytes=264)


def write(name, rows):
    with root_writer(root) as writer, writer.new_version(name, spec, backend=backend) as version_writer:
        version_writer.append(rows)
        return version_writer.publish()


old = write("old", rows)
seen, step, exit_code = [], 0, -signal.SIGKILL
while exit_code == -signal.SIGKILL:
    step += 1
    new_rows = np.roll(rows, step, axis=0)
    exit_code = exit_code_of_death_at(step, lambda: write("old", new_rows))
    data_root = DataRoot.open(root)
    current = data_root.current_version("old")
    for version in data_root.versions("old"):
        list(verify(data_root, "old", version))
    first = np.empty((1, 264), np.uint8)
    data_root.open_backend("old", current).gather(np.array([0]), first)
    seen.append("new" if np.array_equal(first[0], new_rows[0]) else "old")
    assert seen[-1] == "new" or current == old, (step, current)
    if seen[-1] == "new":
        old = current
    # A table that is only now made is there whole or not at all.
    exit_code_of_death_at(step, lambda: write(f"new/{step}", new_rows))
    for name in data_root.table_names():
        list(verify(data_root, name, data_root.current_version(name)))
    assert all((table / "CURRENT").exists() for table in (root / "tables").iterdir()), step
    if step % 10 == 0:
        old = write("old", rows)
        assert DataRoot.open(root).current_version("old") == old
old = write("old", rows)
left = [path.name for path in (root / "staging").iterdir()]
print(json.dumps({"exit_code": exit_code, "steps": step, "seen": seen, "left": left}))
"""


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_a_writer_killed_at_any_step_leaves_the_old_version_or_the_new_and_the_next_import_works(
    root: Path, backend: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), backend],
        check=False,
        capture_output=True,
        text=True,
        env=with_tests(),
        timeout=100,
    )

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["exit_code"] == 0
    assert found["steps"] > 15
    assert found["seen"][0] == "old"
    assert found["seen"][-1] == "new"
    assert found["left"] == []


ATTACH = """
import signal, sys
from pathlib import Path
import numpy as np
from support.death_at_step import exit_code_of_death_at
from store_server.storage import DataRoot, root_writer
from store_server.storage.checkpoint import SyntheticCheckpoint, read_checkpoint, synthetic_rows, write_checkpoint

root, directory = Path(sys.argv[1]), Path(sys.argv[2])
write_checkpoint(directory, SyntheticCheckpoint(scale=1e-6))
found = read_checkpoint(directory)


def attach(name):
    with root_writer(root) as writer:
        writer.attach({f"{name}/layer-{layer}": manifest for layer, manifest in found.manifests.items()})


step, exit_code, seen = 0, -signal.SIGKILL, set()
while exit_code == -signal.SIGKILL:
    step += 1
    exit_code = exit_code_of_death_at(step, lambda: attach(f"t{step}"))
    tables = DataRoot.open(root).table_names() if (root / "tables").exists() else []
    seen.add(tuple(name.partition("/")[2] for name in tables if name.startswith(f"t{step}/")))
    assert all((table / "CURRENT").exists() for table in (root / "tables").glob("*")), step
    attach(f"t{step}")
    for layer in found.manifests:
        data_root, name, row = DataRoot.open(root), f"t{step}/layer-{layer}", np.empty((1, 264), np.uint8)
        data_root.open_backend(name, data_root.current_version(name)).gather(np.array([9]), row)
        assert np.array_equal(row, synthetic_rows(np.array([9]), layer, 256))
assert step > 15 and exit_code == 0, (step, exit_code)
assert {(), ("layer-1", "layer-14")} <= seen <= {(), ("layer-1",), ("layer-1", "layer-14")}, seen
assert not list((root / "staging").iterdir())
"""


def test_an_attach_killed_at_any_step_leaves_whole_tables_only_and_the_next_attach_works(
    root: Path, tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", ATTACH, str(root), str(tmp_path / "ck")],
        check=False,
        capture_output=True,
        text=True,
        env=with_tests(),
        timeout=100,
    )

    assert run.returncode == 0, run.stderr


IMPORT_AND_WAIT = """
import sys
import numpy as np
from store_server.storage import TableSpec, root_writer
rows = np.ones((4_095, 264), np.uint8)
with root_writer(sys.argv[1]) as writer:
    with writer.new_version("t", TableSpec(num_rows=4_095 * 8, row_bytes=264), backend=sys.argv[2]) as version_writer:
        for block in range(8):
            version_writer.append(rows)
            print("block", flush=True)
            sys.stdin.readline()
"""


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
@pytest.mark.parametrize("blocks", [1, 7])
def test_an_import_killed_between_blocks_is_never_seen_and_cleaned_up(root: Path, backend: str, blocks: int) -> None:
    from store_server.storage import DataRoot, root_writer

    command = [sys.executable, "-c", IMPORT_AND_WAIT, str(root), backend]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as importer:
        assert importer.stdin is not None
        assert importer.stdout is not None
        for _ in range(blocks):
            assert importer.stdout.readline() == "block\n"
            importer.stdin.write("\n")
            importer.stdin.flush()
        importer.kill()

    assert len(list((root / "staging").iterdir())) == 1
    assert DataRoot.open(root).table_names() == []
    with root_writer(root):
        assert list((root / "staging").iterdir()) == []
