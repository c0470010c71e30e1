"""Asks single nodes in the background: who they are, whether they are well again, whether they have come back."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from engram_client.at_once import begin, end
from engram_client.cluster.latency import NodeLatency, units
from engram_client.cluster.node_health import is_outlier
from engram_client.errors import RowsNotHeld, TableDamaged, TableNotFound, VersionNotFound

if TYPE_CHECKING:
    from engram_client.cluster.linked_node import LinkedNode

_TRIAL_SECONDS: Final = 1.0
_GREETING_SECONDS: Final = 5.0
_FIRST_LOOK_SECONDS: Final = 0.25  # whether a node that is about to stop has
_LONGEST_LOOK_SECONDS: Final = 2.0


class Nodes(Protocol):
    """What trials need of the nodes that are linked."""

    def include(self, node: LinkedNode) -> bool:
        """Tell whether a node is linked still."""
        ...

    def usual_beside(self, judged: LinkedNode) -> float:
        """Return the seconds that the middle one of the other nodes takes for a unit of work."""
        ...


class Trials:
    """Each in a task of its own, which ends when it knows, when the node is linked no more, or with `close`."""

    def __init__(self, nodes: Nodes, dice: random.Random) -> None:
        self._nodes = nodes
        self._dice = dice
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def greet(self, node: LinkedNode) -> None:
        """Let a node of several processes name them."""
        self._begin(self._greet(node))

    def until_ready(self, node: LinkedNode) -> None:
        """Try a node that is left out until it has proved itself."""
        self._begin(self._try_until_ready(node))

    def heard(self, node: LinkedNode) -> None:
        """Take note of what a node says of itself: one that is about to stop is spared until it has come back."""
        node.is_stopping = node.link.draining
        if node.is_stopping and not node.is_watched:
            node.is_watched = True  # until it says that it stays, however often it changes its mind meanwhile
            self._begin(self._wait_until_back(node))

    async def close(self) -> None:
        """End all trials. Of a loop that is closed there are none left to wait for."""
        self._closed = True
        await end([task for task in self._tasks if not task.get_loop().is_closed()])

    def _begin(self, trial: Coroutine[None, None, None]) -> None:
        if self._closed:
            trial.close()
        else:
            begin(trial, self._tasks)

    def _is_wanted(self, node: LinkedNode) -> bool:
        # A link that is closed at the same moment may answer a cancel with a failure: then close() waits for this.
        return not self._closed and self._nodes.include(node)

    async def _greet(self, node: LinkedNode) -> None:
        with contextlib.suppress(Exception):
            await node.link.list_tables(_GREETING_SECONDS)
            self.heard(node)

    async def _wait_until_back(self, node: LinkedNode) -> None:
        """Look for a node that is about to stop, also when it has, until it answers and says that it stays."""
        pause = _FIRST_LOOK_SECONDS
        while node.is_stopping and self._is_wanted(node):
            await asyncio.sleep(pause * self._dice.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
            with contextlib.suppress(Exception):
                await node.link.list_tables(_TRIAL_SECONDS)
                self.heard(node)
        node.is_watched = False

    async def _try_until_ready(self, node: LinkedNode) -> None:
        loop = asyncio.get_running_loop()
        while not node.health.ready and self._is_wanted(node):
            await asyncio.sleep(node.health.pause * self._dice.uniform(0.5, 1.0))
            began = loop.time()
            try:
                work = await _ask(node)
            except (RowsNotHeld, TableDamaged, TableNotFound, VersionNotFound):
                node.last_asked = None  # it answers, and these rows it may never have again
            except Exception:  # of whatever kind: without trials the node would stay out for good
                node.health.tried(is_good=False, now=loop.time())
            else:
                self._judge(node, loop.time() - began, work)

    def _judge(self, node: LinkedNode, seconds: float, work: float) -> None:
        """Take note that a node answered a trial."""
        now = asyncio.get_running_loop().time()
        node.latency.record(seconds, work, now)
        is_slow = is_outlier(seconds / work, self._nodes.usual_beside(node))
        node.health.tried(is_good=not is_slow, now=now)
        if node.health.ready:
            node.latency = NodeLatency()
            node.latency.record(seconds, work, now)
            self.greet(node)  # it may never have been, and its processes may be others now


async def _ask(node: LinkedNode) -> float:
    """Ask a node for what it was asked for last; returns the units of work.

    One that is about to stop waits until nobody asks it for rows, and is not kept from it by trials.
    """
    if node.last_asked is None or node.is_stopping:
        await node.link.list_tables(_TRIAL_SECONDS)
        return 1.0
    table, rows = node.last_asked
    out = np.empty((len(rows), table.row_bytes), np.uint8)
    await node.link.fetch(table, rows, out, _TRIAL_SECONDS)
    return units(out.nbytes)
