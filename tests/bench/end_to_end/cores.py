"""Which core the model computes on, and which one does everything that a network and another machine would do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bench.store_bench.placement import placements


@dataclass(frozen=True, slots=True)
class Cores:
    """A thread is started on the cores of the thread that starts it, so it is enough to move the one that builds."""

    model: frozenset[int]
    """The model's thread, and a store that is no node: its look-ups are the host's own work."""
    io: frozenset[int]
    """Nodes, proxies, and the threads of clients of nodes."""

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Return one core for each; the same for both if there is only one."""
        places = placements()
        place = places.get("apart", places["shared"])
        return cls(model=place.client_cores, io=place.server_cores)

    @contextlib.contextmanager
    def starting_on(self, cores: frozenset[int]) -> Iterator[None]:
        """Have this thread, and whatever it starts in the block, on some cores; afterwards it is where it was."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
