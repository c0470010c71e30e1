"""The wire is held against that of the last release: what its nodes and clients could not understand is found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTO = Path(__file__).parents[2] / "proto"
BREAKS = {
    "a field of another number": ("lookup_service.proto", "fixed64 id = 1;", "fixed64 id = 11;"),
    "a field of another type": ("cluster_service.proto", "uint64 epoch = 2;", "string epoch = 2;"),
    "a field that is gone": ("table_service.proto", "uint64 num_rows = ", "reserved "),
    "a call under another name": ("cluster_service.proto", "rpc GetShardMap(", "rpc FetchShardMap("),
    "a reason of another number": ("error_reason.proto", "ERROR_REASON_STARTING = ", "ERROR_REASON_STARTING = 1"),
}


def breaking(proto):
    """What buf says of sources beside the wire of the last release."""
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), "breaking", str(proto), "--against", str(PROTO / "released.binpb")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_nodes_and_clients_of_the_last_release_understand_this_wire():
    ended = breaking(PROTO)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize(("name", "old", "new"), BREAKS.values(), ids=BREAKS)
def test_a_change_that_breaks_the_wire_is_found(tmp_path, name, old, new):
    broken = shutil.copytree(PROTO, tmp_path / "proto")
    source = next(broken.rglob(name))
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new, 1))

    ended = breaking(broken)

    assert ended.returncode == 100
    assert f"{name}:" in ended.stdout


def test_make_lint_asks():
    lint = (PROTO.parent / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]

    assert "buf breaking proto --against $(RELEASED_WIRE)" in lint
