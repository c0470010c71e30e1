"""Blocks copied from sources that are right, wrong, cut short, slow, or gone."""

import asyncio
import dataclasses
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.block_node import block_node
from support.checkpoints import attach_rows
from support.http_root import http_root
from support.parts import block_bytes, make_part, manifest_of
from support.rows import random_rows
from support.tables import write_table

from store_server.cluster.blocks.block_source import FileSource, InvalidSourceUrl, SourceFailed, block_source
from store_server.cluster.blocks.copying import CopyStopped, copy_blocks
from store_server.cluster.blocks.right_blocks import CannotCopy
from store_server.storage import DataRoot, Manifest, RowsNotHeld, StorageError, root_writer, verify
from store_server.storage.arrivals import remove_arrivals
from store_server.storage.held_blocks import held_blocks

BLOCK_ROWS, NUM_BLOCKS = 4_095, 6
BLOCK_BYTES = BLOCK_ROWS * 264
ROWS = random_rows(5 * BLOCK_ROWS + 9, 264)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A data root with the whole version."""
    root = tmp_path_factory.mktemp("origin") / "root"
    write_table(root, "m/t", ROWS, row_format="bfloat16", fingerprint="fp")
    return root


@pytest.fixture(scope="module")
def version(origin):
    return manifest_of(origin, "m/t").version


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "tables").mkdir(parents=True)
    return DataRoot.open(tmp_path / "root")


def held(root, version, name="m/t"):
    return np.flatnonzero(held_blocks(root.stored_version(name, version))).tolist()


def assert_right(root, version, blocks, name="m/t"):
    """What is held are these blocks, and their rows are those that were published."""
    assert held(root, version, name) == blocks
    list(verify(root, name, version))
    rows = np.concatenate([np.arange(len(ROWS))[block * BLOCK_ROWS :][:BLOCK_ROWS] for block in blocks])
    out = np.empty((len(rows), 264), np.uint8)
    backend = root.open_backend(name, version)
    backend.gather(rows, out)
    backend.close()
    assert np.array_equal(out, ROWS[rows])


class FakeSource:
    """The rows of the version, in which a test changes what it wants to."""

    def __init__(self, origin, name="fake", change=lambda rows: rows):
        self.url, self.asked = name, []
        self._file, self._change = FileSource(origin), change

    def manifest(self, table, version):
        return self._file.manifest(table, version)

    def blocks(self, table, manifest, first, count):
        self.asked.append((first, count))
        for block, rows in self._file.blocks(table, manifest, first, count):
            if (changed := self._change(rows)) is not None:
                yield block, changed

    def close(self):
        pass


@pytest.mark.parametrize("kind", ["file", "http", "grpc"])
async def test_wanted_blocks_come_from_any_source(root, origin, version, kind):
    async with block_node(origin) as address:
        with http_root(origin) as http_url:
            url = {"file": origin.as_uri(), "http": http_url, "grpc": f"grpc://{address}"}[kind]
            source = block_source(url)
            await asyncio.to_thread(copy_blocks, root, "m/t", version, [(1, 3), (5, 6)], [source])
            source.close()

    assert_right(root, version, [1, 2, 5])
    assert root.current_version("m/t") == version
    manifest = root.manifest("m/t", version)
    assert (manifest.row_format, manifest.fingerprint) == ("bfloat16", "fp")
    with pytest.raises(RowsNotHeld):
        root.open_backend("m/t", version).gather(np.array([0]), np.empty((1, 264), np.uint8))


async def test_a_manifest_of_half_a_million_blocks_comes_from_a_node(tmp_path, origin):
    """That of a table of half a terabyte in blocks of a mebibyte; here they have one row."""
    digests = tuple(f"{block:032x}" for block in range(500_000))
    manifest = dataclasses.replace(
        manifest_of(origin, "m/t"),
        num_rows=len(digests),
        block_rows=1,
        block_digests=digests,
        data_bytes=len(digests) * 264,
    )
    make_part(tmp_path / "part", "m/t", ROWS, manifest, [])
    async with block_node(tmp_path / "part") as address:
        source = block_source(f"grpc://{address}")
        sent = await asyncio.to_thread(source.manifest, "m/t", manifest.version)
        source.close()

    assert len(sent) > 16 << 20
    assert Manifest.from_json(sent).version == manifest.version


async def test_blocks_come_from_a_node_at_a_socket_too(root, origin, version, tmp_path):
    async with block_node(origin, socket=tmp_path / "socket") as address:
        source = block_source(f"grpc://{address}")
        await asyncio.to_thread(copy_blocks, root, "m/t", version, [(1, 3)], [source])
        source.close()

    assert_right(root, version, [1, 2])


@pytest.mark.parametrize("kind", ["file", "http", "grpc"])
async def test_a_source_that_is_a_part_gives_what_it_holds_and_the_next_the_rest(root, origin, version, tmp_path, kind):
    make_part(tmp_path / "part", "m/t", ROWS, manifest_of(origin, "m/t"), [0, 2, 4])
    rest = FakeSource(origin)
    async with block_node(tmp_path / "part") as address:
        with http_root(tmp_path / "part") as http_url:
            url = {"file": (tmp_path / "part").as_uri(), "http": http_url, "grpc": f"grpc://{address}"}[kind]
            source = block_source(url)
            await asyncio.to_thread(copy_blocks, root, "m/t", version, None, [source, rest])
            source.close()

    assert_right(root, version, list(range(NUM_BLOCKS)))
    assert rest.asked == [(1, 1), (3, 1), (5, 1)]


def test_a_version_held_in_lmdb_elsewhere_is_a_flat_file_here_under_the_same_name(root, tmp_path, version):
    same = write_table(tmp_path / "lmdb", "m/t", ROWS, backend="lmdb", row_format="bfloat16", fingerprint="fp")

    copy_blocks(root, "m/t", same, None, [FileSource(tmp_path / "lmdb")])

    assert same == version
    assert root.manifest("m/t", version).backend == "mmap"
    assert_right(root, version, list(range(NUM_BLOCKS)))


def test_a_table_that_is_there_stays_at_its_current_version(root, origin, version):
    old = write_table(root.path, "m/t", random_rows(10, 16))

    copy_blocks(root, "m/t", version, [(0, 1)], [FileSource(origin)])

    assert root.current_version("m/t") == old
    assert root.versions("m/t") == sorted([old, version])
    assert_right(root, version, [0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[:-1], "block 1: expected 1,081,080 bytes, found 1,081,079"),
        (lambda rows: rows[:99] + bytes([rows[99] ^ 4]) + rows[100:], "block 1: expected digest .*, found "),
        (lambda _: None, "fake: does not give them all"),
    ],
)
def test_wrong_blocks_are_named_and_taken_from_the_next_source(root, origin, version, change, says):
    wrong = FakeSource(origin, change=change)
    with pytest.raises(CannotCopy, match=f"no source gives blocks 1 to 2 of version .*fake: {says}|{says}"):
        copy_blocks(root, "m/t", version, [(1, 3)], [wrong])
    assert root.table_names() == []

    copy_blocks(root, "m/t", version, [(1, 3)], [wrong, FileSource(origin)])

    assert_right(root, version, [1, 2])


def test_a_source_that_failed_is_not_asked_for_each_batch(root, origin, version):
    class Gone(FakeSource):
        def blocks(self, *asked):
            self.asked.append(asked[2:])
            raise SourceFailed(self.url, "gone")
            yield

    gone = Gone(origin)
    copy_blocks(root, "m/t", version, None, [gone, FileSource(origin)], batch_bytes=1)

    assert gone.asked == [(0, 1)]
    assert_right(root, version, list(range(NUM_BLOCKS)))


def test_a_node_that_does_not_answer_is_a_failed_source_within_the_limit(root, version):
    with socket.create_server(("127.0.0.1", 0)) as never_accepts:
        address = f"127.0.0.1:{never_accepts.getsockname()[1]}"
        source = block_source(f"grpc://{address}", wait_seconds=0.2)
        with pytest.raises(CannotCopy, match=f"grpc://{address}: DEADLINE_EXCEEDED"):
            copy_blocks(root, "m/t", version, None, [source])
        source.close()


def test_a_manifest_of_another_name_is_refused(root, origin, version, tmp_path):
    other = write_table(tmp_path / "other", "m/t", random_rows(10, 16))

    class Liar(FakeSource):
        def manifest(self, table, _):
            return FileSource(tmp_path / "other").manifest(table, other)

    with pytest.raises(CannotCopy, match=f"sends another manifest: expected {version}, found {other}"):
        copy_blocks(root, "m/t", version, None, [Liar(origin)])


@pytest.mark.parametrize("kind", ["file", "http", "grpc"])
@pytest.mark.parametrize("has_digests", [False, True])
async def test_an_attached_version_is_refused_with_what_to_do_instead(root, tmp_path, kind, has_digests):
    attached = tmp_path / "attached"
    version = attach_rows(attached, "t", ROWS[:1000])
    if has_digests:
        list(verify(DataRoot.open(attached), "t", version))

    async with block_node(attached) as address:
        with http_root(attached) as http_url:
            source = block_source({"file": attached.as_uri(), "http": http_url, "grpc": f"grpc://{address}"}[kind])
            with pytest.raises(
                CannotCopy, match=f"{source.url}: .* files of a checkpoint, .*`import` .* or .*`attach`"
            ):
                await asyncio.to_thread(copy_blocks, root, "t", version, [(0, 1)], [source])
            source.close()

    assert not list(root.path.rglob("rows.bin"))


def test_a_copy_goes_on_where_it_stopped_and_reports_how_far_it_is(root, origin, version):
    stop, steps, first, second = threading.Event(), [], FakeSource(origin), FakeSource(origin)

    def note(step):
        steps.append((step.blocks_done, step.num_blocks, step.bytes_done, step.num_bytes))
        if step.blocks_done == 2:
            stop.set()

    with pytest.raises(CopyStopped, match="told to stop"):
        copy_blocks(root, "m/t", version, None, [first], progress=note, batch_bytes=BLOCK_BYTES, stop=stop)
    assert_right(root, version, [0, 1])
    copy_blocks(root, "m/t", version, None, [second], progress=note, batch_bytes=2 * BLOCK_BYTES)

    assert first.asked == [(0, 1), (1, 1)]
    assert second.asked == [(2, 2), (4, 2)]
    assert [done for done, _, _, _ in steps] == [0, 1, 2, 2, 4, 6]
    assert steps[1] == (1, 6, BLOCK_BYTES, ROWS.size)
    assert steps[-1] == (6, 6, ROWS.size, ROWS.size)
    assert_right(root, version, list(range(NUM_BLOCKS)))


def test_nothing_wanted_is_nothing_done(root, origin, version):
    copy_blocks(root, "m/t", version, [], [FileSource(origin)])

    assert root.table_names() == []


def test_blocks_outside_the_version_are_refused(root, origin, version):
    with pytest.raises(ValueError, match="blocks must lie in 0 to 6"):
        copy_blocks(root, "m/t", version, [(0, 7)], [FileSource(origin)])


def test_a_version_appears_when_another_writer_has_ended(root, origin, version):
    """The copy goes on while somebody imports into the same data root."""
    is_copied, imported = threading.Event(), threading.Event()

    def import_something():
        with root_writer(root.path):
            imported.set()
            is_copied.wait(20)

    writer = threading.Thread(target=import_something)
    writer.start()
    assert imported.wait(20)

    def note(step):
        if step.blocks_done == NUM_BLOCKS:
            assert root.table_names() == []
            is_copied.set()

    copy_blocks(root, "m/t", version, None, [FileSource(origin)], progress=note)
    writer.join()

    assert_right(root, version, list(range(NUM_BLOCKS)))


def test_of_a_version_that_shares_a_file_only_what_is_not_right_there_is_fetched(root, origin, version, tmp_path):
    old = ROWS.copy()
    old[0] ^= 1
    write_table(tmp_path / "old", "m/t", old)
    make_part(root.path, "m/t", old, manifest_of(tmp_path / "old", "m/t"), [0, 1, 2, 3, 5])
    with next(root.path.rglob("rows.bin")).open("r+b") as file:
        file.seek(2 * BLOCK_BYTES)
        file.write(bytes([ROWS[2 * BLOCK_ROWS, 0] ^ 1]))
    source = FakeSource(origin)

    copy_blocks(root, "m/t", version, None, [source])

    assert source.asked == [(0, 1), (2, 1), (4, 1)]
    assert_right(root, version, list(range(NUM_BLOCKS)))


def test_reading_what_a_version_shares_keeps_to_the_rate(root, origin, version, tmp_path):
    """One block at this rate takes an hour; what was never copied costs nothing."""
    old = ROWS.copy()
    old[-1] ^= 1
    write_table(tmp_path / "old", "m/t", old)
    make_part(root.path, "m/t", old, manifest_of(tmp_path / "old", "m/t"), [2])
    stop, source = EndsAtTheFirstWait(), FakeSource(origin)

    with pytest.raises(CopyStopped):
        copy_blocks(
            root,
            "m/t",
            version,
            None,
            [source],
            bytes_per_second=BLOCK_BYTES / 3600,
            batch_bytes=BLOCK_BYTES,
            stop=stop,
        )

    assert stop.seconds == pytest.approx(3600, rel=0.01)
    assert source.asked == []


class EndsAtTheFirstWait(threading.Event):
    """Is set by whoever waits for it for so many `seconds`."""

    seconds = 0.0

    def wait(self, timeout=None):
        if timeout and not self.is_set():
            self.seconds = timeout
            self.set()
        return self.is_set()


def test_what_nobody_goes_on_with_is_removed(root, origin, version):
    source = FakeSource(origin, change=lambda _: None)
    with pytest.raises(CannotCopy):
        copy_blocks(root, "m/t", version, None, [source])
    assert list((root.path / "incoming").rglob("rows.bin"))

    remove_arrivals(root, but=[("m/t", version)])
    assert list((root.path / "incoming").rglob("rows.bin"))
    remove_arrivals(root)

    assert list((root.path / "incoming").iterdir()) == []


@pytest.mark.parametrize("left", ["", "tables", "tables/m@t", "tables/m@t/versions"])
def test_an_arrival_whose_beginning_or_end_somebody_died_over_is_removed_or_begun_anew(root, origin, version, left):
    incoming = root.path / "incoming"
    (incoming / version / left).mkdir(parents=True)

    remove_arrivals(root)
    assert list(incoming.iterdir()) == []

    (incoming / version / left).mkdir(parents=True)
    copy_blocks(root, "m/t", version, [(1, 2)], [FileSource(origin)])
    assert_right(root, version, [1])
    assert list(incoming.iterdir()) == []


def test_a_rate_is_kept_and_a_stop_is_heard_at_once(root, origin, version):
    """One block at this rate takes an hour, so the copy ends only because it is told to."""
    stop = threading.Event()

    def note(step):
        if step.blocks_done:
            threading.Thread(target=stop.set).start()

    with pytest.raises(CopyStopped):
        copy_blocks(
            root,
            "m/t",
            version,
            None,
            [FileSource(origin)],
            progress=note,
            bytes_per_second=BLOCK_BYTES / 3600,
            batch_bytes=BLOCK_BYTES,
            stop=stop,
        )

    assert held(root, version) == [0]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/data",
        "ftp://a/b",
        "file://",
        "file://host/data",
        "http://",
        "http://user@a/b",
        "grpc://a",
        "grpc://a:b",
        "grpc://unix:///",
    ],
)
def test_what_names_no_source_is_refused(url):
    with pytest.raises(InvalidSourceUrl, match="is no source of blocks"):
        block_source(url)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_who_waits_for_a_silent_source_is_woken_and_the_source_gives_nothing_any_more(origin, version, kind):
    """Somebody accepts the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as thread:
        url = f"{kind}://127.0.0.1:{silent.getsockname()[1]}"
        source = block_source(url, wait_seconds=3600)
        answer = thread.submit(source.manifest, "m/t", version)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            source.interrupt()
            with pytest.raises(SourceFailed, match=url):
                answer.result(60)
        with pytest.raises(SourceFailed, match="was interrupted"):
            source.manifest("m/t", version)
        with pytest.raises(SourceFailed, match="was interrupted"):
            list(source.blocks("m/t", manifest_of(origin, "m/t"), 0, 1))
        source.close()


class EndlessSource(FakeSource):
    """Sends one wrong block again and again."""

    def blocks(self, table, manifest, first, count):  # noqa: ARG002
        while True:
            self.asked.append((first, count))
            yield first, b"wrong"


def test_a_source_that_sends_a_block_without_end_has_failed(root, origin, version):
    endless = EndlessSource(origin)

    with pytest.raises(CannotCopy, match="fake: sends block 1 again, or after later ones"):
        copy_blocks(root, "m/t", version, [(1, 3)], [endless])
    assert len(endless.asked) == 2

    copy_blocks(root, "m/t", version, [(1, 3)], [EndlessSource(origin), FileSource(origin)])
    assert_right(root, version, [1, 2])


def test_a_table_that_cannot_have_its_name_is_refused(root, origin, version):
    with pytest.raises((StorageError, CannotCopy), match=r"'\.\./t' is not a table name"):
        copy_blocks(root, "../t", version, None, [FileSource(origin)])


def test_the_blocks_that_a_test_compares_with_are_those_of_the_version(origin, version):
    source = FileSource(origin)
    manifest = manifest_of(origin, "m/t")

    assert [rows for _, rows in source.blocks("m/t", manifest, 0, 6)] == [
        block_bytes(ROWS, BLOCK_ROWS, block) for block in range(6)
    ]
