from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store_server.storage import (
    Backend,
    DataRoot,
    IncompleteVersion,
    InvalidTableName,
    InvalidTableSpec,
    StorageError,
    TableSpec,
    root_writer,
)

TABLE = np.random.default_rng(0).integers(0, 256, (9_000, 264), dtype=np.uint8)
SPEC = TableSpec(num_rows=len(TABLE), row_bytes=TABLE.shape[1])
BACKENDS = ("mmap", "lmdb")


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(TABLE)), max_size=6))
def test_rows_may_come_in_pieces_of_any_size(
    root: Path, open_version: Callable[..., Backend], backend: str, cuts: list[int]
) -> None:
    with root_writer(root) as writer, writer.new_version("t", SPEC, backend=backend) as version_writer:
        for piece in np.split(TABLE, sorted(cuts)):
            version_writer.append(piece)
        version = version_writer.publish()

    assert np.array_equal(np.concatenate(list(open_version(root, "t", version).blocks())), TABLE)


def test_both_backends_give_the_same_content_the_same_name(root: Path, publish: Callable[..., str]) -> None:
    assert publish(root, "a", TABLE, backend="mmap") == publish(root, "b", TABLE, backend="lmdb")


def test_rows_need_not_be_contiguous(
    root: Path, publish: Callable[..., str], open_version: Callable[..., Backend]
) -> None:
    publish(root, "t", TABLE[::-1, ::2])

    assert np.array_equal(np.concatenate(list(open_version(root, "t").blocks())), TABLE[::-1, ::2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_rows_are_an_error_that_says_how_many(root: Path, backend: str) -> None:
    with root_writer(root) as writer, writer.new_version("t", SPEC, backend=backend) as version_writer:
        version_writer.append(TABLE[:-1])
        with pytest.raises(IncompleteVersion, match="9,000 rows, got 8,999"):
            version_writer.publish()

    assert DataRoot.open(root).table_names() == []


def test_too_many_rows_are_an_error(root: Path) -> None:
    with root_writer(root) as writer, writer.new_version("t", SPEC) as version_writer:
        version_writer.append(TABLE)
        with pytest.raises(IncompleteVersion, match="9,000 rows, got 9,001"):
            version_writer.append(TABLE[:1])


@pytest.mark.parametrize("rows", [TABLE[:, :-1], TABLE[0], TABLE.astype(np.int8), TABLE.reshape(-1, 2, 264)])
def test_rows_of_another_shape_or_type_are_an_error(root: Path, rows: np.ndarray) -> None:
    with (
        root_writer(root) as writer,
        writer.new_version("t", SPEC) as version_writer,
        pytest.raises(ValueError, match=r"uint8 \(n, 264\)"),
    ):
        version_writer.append(rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_leaving_without_publishing_leaves_nothing(root: Path, backend: str) -> None:
    with root_writer(root) as writer, writer.new_version("t", SPEC, backend=backend) as version_writer:
        version_writer.append(TABLE)

    assert list((root / "staging").iterdir()) == []
    assert list((root / "tables").iterdir()) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failure_while_writing_leaves_nothing(root: Path, backend: str) -> None:
    def write() -> None:
        with root_writer(root) as writer, writer.new_version("t", SPEC, backend=backend) as version_writer:
            version_writer.append(TABLE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not root.exists()

    with root_writer(root):
        pass
    with pytest.raises(KeyboardInterrupt):
        write()
    assert sorted(path.name for path in root.rglob("*")) == ["LOCK", "staging", "tables"]


def test_a_version_is_published_once(root: Path) -> None:
    with root_writer(root) as writer, writer.new_version("t", SPEC) as version_writer:
        version_writer.append(TABLE)
        version_writer.publish()
        with pytest.raises(StorageError, match="already"):
            version_writer.publish()


def test_an_unknown_backend_or_a_bad_name_is_refused(root: Path) -> None:
    with root_writer(root) as writer:
        with (
            pytest.raises(InvalidTableSpec, match="one of mmap, lmdb, got 'paper'"),
            writer.new_version("t", SPEC, backend="paper"),
        ):
            pass
        with pytest.raises(InvalidTableName), writer.new_version("../t", SPEC):
            pass

    assert list((root / "staging").iterdir()) == []
