"""This host, for a node that is to run on it: its settings, its data root, what the kernel gives it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from store_server.commands.doctor.finding import Finding, fail, ok, warn
from store_server.commands.doctor.host import Wanted, judge_host, judge_root
from store_server.commands.doctor.host_facts import look_at_host, look_at_root
from store_server.commands.doctor.tls import judge_certificate
from store_server.commands.doctor.tls_facts import certificate_in
from store_server.commands.start_problems import address_problems, setting_problems
from store_server.storage import DataRoot, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store_server.commands.doctor.host_facts import RootFacts
    from store_server.commands.serve_options import ServeOptions
    from store_server.commands.serve_options.processes import ProcessOptions
    from store_server.commands.serve_options.tables import TableOptions
    from store_server.commands.setting_layers.layer import Layer

_SECONDS_TO_LOOK: Final = 10.0


class DiskSilent(Exception):
    """A disk does not answer."""


def look_at_settings(file: Path, options: ServeOptions, layers: Layer) -> Iterator[Finding]:
    """Yield what would keep a node with the settings of a file from starting here, and what it would show."""
    problems = list(setting_problems(options, layers))
    for problem in problems:
        yield fail("settings", str(file), problem, "correct it in the file, or make what it names")
    for remark in layers.remarks:
        yield warn("settings", str(file), remark, "correct the name, or take it out of the environment")
    if not problems:
        yield ok("settings", str(file), "are sound")
    for problem in address_problems(options):
        change = "if it is this node that runs there already, all is well; else end what does, or listen elsewhere"
        yield warn("addresses", "this host", problem, change)
    yield from _certificate(options.transport.tls_cert)


def place_of(
    root: Path, *, look: Callable[[Path], RootFacts] = look_at_root, seconds: float = _SECONDS_TO_LOOK
) -> RootFacts | Finding:
    """Return what is known of the place of a data root, or why nothing is. Raises DiskSilent."""
    found: Future[RootFacts] = Future()

    def look_there() -> None:
        try:
            found.set_result(look(root))
        except BaseException as error:  # whatever it is, it comes out below
            found.set_exception(error)

    threading.Thread(target=look_there, name="root", daemon=True).start()  # which nobody can end, if the disk is silent
    wait([found], seconds)
    if not found.done():
        raise DiskSilent(f"its disk has not answered for {seconds:g} s")
    try:
        return found.result()
    except OSError as error:
        change = "correct the path, or make a root: `create`, `import`"
        return fail("root", str(root), error.strerror or str(error), change)


def disk_silent(root: Path, error: DiskSilent) -> Finding:
    """Return what is to be said where nothing else of a data root can be."""
    return fail("root", str(root), str(error), "see dmesg: the disk, or the network to it, has failed")


def look_here(
    root: Path, place: RootFacts | Finding, processes: ProcessOptions, tables: TableOptions
) -> Iterator[Finding]:
    """Yield what a node of a data root would find here, at its `place`."""
    if isinstance(place, Finding):
        yield place
        return
    yield from judge_root(place)
    in_memory_bytes = 0
    for name in tables.in_memory or ():
        try:
            opened = DataRoot.open(root)
            in_memory_bytes += opened.manifest(name, opened.current_version(name)).num_bytes
        except StorageError as error:
            yield fail("in memory", name, str(error), "correct --in-memory, or `import` the table")
    wanted = Wanted(
        workers=processes.workers,
        huge_pages=tables.huge_pages,
        numa_nodes=processes.numa_nodes,
        in_memory_bytes=in_memory_bytes,
        memory_budget_bytes=tables.memory_budget or 0,
    )
    try:
        processes.placements()
    except ValueError as error:
        yield fail("placement", "this host", str(error), "correct --workers, --pin-cores or --numa-nodes")
    yield from judge_host(look_at_host(), wanted)


def _certificate(file: Path | None) -> Iterator[Finding]:
    if file is None:
        return
    now = time.time()
    with suppress(OSError, ValueError):  # which is a problem of the settings
        yield judge_certificate(str(file), certificate_in(file.read_bytes(), now), now)
