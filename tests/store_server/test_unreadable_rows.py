from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs
from support.rows import random_rows
from support.tables import write_table

from store_server.config import ServerConfig
from store_server.open_version import OpenVersion, VersionOpener
from store_server.storage import DataRoot, StorageFailure
from store_server.storage.data_root import PlacedVersion
from store_server.unreadable_rows import UnreadableRows


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(root: Path, name: str) -> OpenVersion:
    version = write_table(root, name, random_rows(10, 8))
    data_root = DataRoot.open(root)
    found = PlacedVersion(name, version, data_root.place(name, version))
    return VersionOpener(data_root, ServerConfig(root=root)).open(found, in_memory=False)


def test_what_is_wrong_with_a_version_is_said_when_it_is_new_and_once_a_minute(tmp_path: Path) -> None:
    clock, one, other = Clock(), opened(tmp_path, "one"), opened(tmp_path, "other")
    unreadable = UnreadableRows(clock)
    bad_disk, no_answer = (StorageFailure(tmp_path, what) for what in ("a bad disk", "no answer"))

    with capture_logs() as said:
        for version, error, now in (
            (one, bad_disk, 0),
            (one, bad_disk, 59),
            (other, bad_disk, 59),
            (one, no_answer, 59),
            (other, bad_disk, 60),
            (other, bad_disk, 119),
        ):
            clock.now = now
            unreadable.say(version, error)

    assert [(line["table"], line["error"]) for line in said] == [
        ("one", str(bad_disk)),
        ("other", str(bad_disk)),
        ("one", str(no_answer)),
        ("other", str(bad_disk)),
    ]
