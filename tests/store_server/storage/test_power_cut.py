"""What a power cut would leave: at every rename into the tables, and in the end, only what was synced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Runs in a process of its own, because nobody but os.fsync can say what was synced. A file is durable in the state that
# its last fsync saw, a directory with the names, and what they named, that its last fsync saw. What is moved must be
# durable before, and all that the tables held by then: a CURRENT must not survive the version that it names.
SCRIPT = """
import json, os, sys
from pathlib import Path
import numpy as np
from store_server.storage import DataRoot, TableSpec, root_writer, verify
from store_server.storage.attachment import attached_manifest
from store_server.storage.files.safetensors_file import read_safetensors_file
from store_server.storage.patch_writer import write_patch
from store_server.storage.row_patch import row_patch

root, backend, checkpoint = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
durable, lost, renames = {}, [], []


def state(path):
    if os.path.isdir(path):
        return {entry.name: entry.inode() for entry in os.scandir(path)}
    return os.stat(path).st_size, os.stat(path).st_mtime_ns


def record(descriptor, fsync=os.fsync):
    fsync(descriptor)
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    durable[os.stat(path).st_ino] = state(path)


def check(top, when):
    paths = [Path(top), *Path(top).rglob("*")] if Path(top).exists() else []
    lost.extend(f"{when}: {path}" for path in paths if durable.get(path.stat().st_ino, {}) != state(path))


def check_renames(event, arguments):
    if event == "os.rename":
        renames.append(str(arguments[1]))
        check(root / "tables", f"before {renames[-1]}")
        if Path(arguments[1]).is_relative_to(root / "tables"):
            check(arguments[0], f"before {renames[-1]}")


def write(name, fill):
    with root_writer(root) as writer:
        spec = TableSpec(num_rows=5_000, row_bytes=264)
        with writer.new_version(name, spec, backend=backend) as version_writer:
            version_writer.append(np.full((5_000, 264), fill, np.uint8))
            return version_writer.publish()


def attach(name):
    file = read_safetensors_file(checkpoint)
    manifest = attached_manifest([(file, file.tensors["rows"])])
    with root_writer(root) as writer:
        writer.attach({name: manifest})
    list(verify(DataRoot.open(root), name, manifest.version))


def patch(name):
    data_root = DataRoot.open(root)
    stored = data_root.stored_version(name, data_root.current_version(name))
    with root_writer(root) as writer:
        write_patch(writer, stored, row_patch(np.array([7]), np.full((1, 264), 9, np.uint8), stored.manifest))


os.fsync = record
sys.addaudithook(check_renames)
first = write("a/b", 0)
check(root / "tables", "after a new table")
write("a/b", 1)
patch("a/b")
assert list(root.glob("tables/*/versions/*/changed.bin"))
attach("new")
attach("a/b")
check(root / "tables", "after new versions")
with root_writer(root) as writer:
    writer.drop("a/b", first)
    check(root / "tables", "after a drop")
    writer.drop_table("a/b")
check(root / "tables", "after all drops")
for path in (root, root.parent):
    made = {"tables", "staging"} if path == root else {root.name}
    lost.extend(str(path / name) for name in made - set(durable.get(path.stat().st_ino, ())))
print(json.dumps({"lost": lost, "renames": len(renames)}))
"""


@pytest.mark.parametrize("backend", ["mmap", "lmdb"])
def test_nothing_is_made_visible_that_a_power_cut_could_take_back(tmp_path: Path, backend: str) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"rows": np.ones((5_000, 264), np.uint8)}, tmp_path / "ck.safetensors")
    arguments = [tmp_path / "new" / "root", backend, tmp_path / "ck.safetensors"]

    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=100
    )

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["lost"] == []
    assert found["renames"] > 10
