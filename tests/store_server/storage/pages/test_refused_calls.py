"""What an older kernel or a strict container refuses: tables are served all the same, and right."""

from __future__ import annotations

import mmap
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.cold_pages import forget_pages
from support.environment import with_tests
from support.rows import random_rows

ROWS = random_rows(20_000, 264)
NO_FILTER = 77
Publish = Callable[..., str]

# In a process of its own: what is refused once is refused for ever.
SCRIPT = """
    import sys
    import numpy as np
    from support.refused_calls import Refused, refuse
    from store_server.storage import DataRoot, ResidentSet

    try:
        refuse({refused})
    except OSError as error:
        print(error)
        sys.exit(77)
    root = DataRoot.open(sys.argv[1])
    backend = root.open_backend("t", root.current_version("t"), {options})
    rows = np.random.default_rng(0).integers(0, backend.num_rows, 3000)
    out = np.zeros((len(rows), backend.row_bytes), np.uint8)
    {then}
    out.tofile(sys.argv[2])
"""
COLD_AND_THEN_WARM = """
    backend.refresh_residency()
    assert not backend.gather_from_ram(rows, out), "cold"
    backend.gather(rows, out)
    out[:] = 0
    assert backend.gather_from_ram(rows, out), "warm"
"""
NEVER_KNOWN_TO_BE_WARM = """
    backend.refresh_residency()
    assert not backend.resident
    assert not backend.gather_from_ram(rows, out)
    backend.gather(rows, out)
"""
NO_HUGE_PAGES = """
    assert backend.huge_pages_wished is False
    backend.gather(rows, out)
"""

ONLY_THE_PAGES_OF_ROWS_ARE_MAPPED = """
    from support.cold_pages import bytes_mapped_here
    backend.gather(rows[:10], out[:10])
    assert bytes_mapped_here(root.path, "t") <= 20 * 4096, bytes_mapped_here(root.path, "t")
    backend.gather(rows, out)
"""


def said_while_rows_are_right(root: Path, found: Path, refused: str, then: str, options: str = "") -> str:
    """Gather rows where calls are refused, look whether they are right, and return what was said."""
    script = SCRIPT.format(refused=refused, options=options, then=textwrap.dedent(then).strip().replace("\n", "\n    "))
    command = [sys.executable, "-c", textwrap.dedent(script), str(root), str(found)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=with_tests())
    if ended.returncode == NO_FILTER:
        pytest.skip(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    rows = np.random.default_rng(0).integers(0, len(ROWS), 3000)
    assert np.array_equal(np.fromfile(found, np.uint8).reshape(-1, 264), ROWS[rows])
    return ended.stderr


@pytest.mark.parametrize(
    "refused",
    [
        'Refused("process_madvise")',
        'Refused("madvise", advice=22), Refused("process_madvise", advice=22)',
        'Refused("madvise", advice=22), Refused("process_madvise")',
    ],
    ids=["no-process_madvise", "no-MADV_POPULATE_READ", "neither"],
)
def test_cold_rows_are_read_without_the_newest_advice(
    root: Path, publish: Publish, tmp_path: Path, refused: str
) -> None:
    publish(root, "t", ROWS)
    if forget_pages(root, "t") == 1:
        pytest.skip("this file system keeps its pages; the test needs one on a disk")

    assert said_while_rows_are_right(root, tmp_path / "found", refused, COLD_AND_THEN_WARM) == ""


def test_nothing_is_believed_where_the_kernel_does_not_say_what_is_in_ram(
    root: Path, publish: Publish, tmp_path: Path
) -> None:
    publish(root, "t", ROWS)

    refused = 'Refused("mincore", error=1)'
    assert said_while_rows_are_right(root, tmp_path / "found", refused, NEVER_KNOWN_TO_BE_WARM) == ""


def test_with_a_budget_what_faults_map_beside_the_rows_goes_also_where_the_kernel_does_not_say_what_is_mapped(
    root: Path, publish: Publish, tmp_path: Path
) -> None:
    publish(root, "t", ROWS)
    if forget_pages(root, "t") == 1:
        pytest.skip("this file system keeps its pages; the test needs one on a disk")
    read_page_by_page(next(root.glob("tables/t/versions/*/rows.*")))

    options = "resident_set=ResidentSet(16 << 20)"
    refused = 'Refused("ioctl")'
    assert (
        said_while_rows_are_right(root, tmp_path / "found", refused, ONLY_THE_PAGES_OF_ROWS_ARE_MAPPED, options) == ""
    )


def read_page_by_page(path: Path) -> None:
    """Have the page cache hold a file as a kernel does that knows of no pages larger than 4 KiB."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        mapped.madvise(mmap.MADV_RANDOM)
        for start in range(0, len(mapped), mmap.PAGESIZE):
            mapped[start]


def test_a_table_in_memory_is_served_where_huge_pages_are_refused(root: Path, publish: Publish, tmp_path: Path) -> None:
    publish(root, "t", ROWS)

    said = said_while_rows_are_right(
        root, tmp_path / "found", 'Refused("madvise", advice=14)', NO_HUGE_PAGES, "in_memory=True, huge_pages=True"
    )

    assert "no huge pages for table t: [Errno 22]" in said
