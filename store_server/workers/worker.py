"""What a worker runs, started by its parent: python -m store_server.workers.worker SETTINGS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from store_server.placement import CannotPlace, take_place
from store_server.workers.channel import Channel
from store_server.workers.settings import WorkerSettings, placed_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from store_server.node import Node
    from store_server.storage import DataRoot
    from store_server.workers.channel import Message


def main(argument: str, open_root: Callable[[Path], DataRoot] | None = None) -> int:
    """Run one worker and return its exit status; why it failed goes to the parent."""
    settings = WorkerSettings.from_argument(argument)
    control, memory = Channel.inherited(settings.control_descriptor), Channel.inherited(settings.memory_descriptor)
    metrics = Channel.inherited(settings.metrics_descriptor)
    control.set_timeout(0)
    try:
        take_place(settings.placement)  # before threads are started and memory is taken
        _serve(settings, control, memory, metrics, open_root)
    except CannotPlace as error:
        return _failed(control, error)
    return 0


def _serve(
    settings: WorkerSettings,
    control: Channel,
    memory: Channel,
    metrics: Channel,
    open_root: Callable[[Path], DataRoot] | None,
) -> None:
    from store_server.logs import log_to_stderr
    from store_server.node import running
    from store_server.serving import ServingFailed, serve
    from store_server.storage import DataRoot
    from store_server.storage.shared_memory import SharedMemory
    from store_server.suspects import Suspects
    from store_server.workers.asked_metrics import MetricsTeller
    from store_server.workers.kept_files import AskedFiles
    from store_server.workers.marks import Marks

    log_to_stderr(settings.config.log_format, worker=settings.number)
    talk = Talk(control)

    def opening(node: Node) -> None:
        MetricsTeller(metrics, node.metrics.exposition(settings.number).text)

    node = partial(
        running,
        memory=SharedMemory(AskedFiles(memory)),
        suspects=Suspects(Marks(settings.marks_descriptor), dict(settings.quarantined)),
        is_one_of_several=True,
        open_root=open_root or DataRoot.open,
    )
    try:
        serve(
            settings.config,
            starting=talk.begin,
            opening=opening,
            listening=talk.listening,
            node=node,
            readiness=talk.serving,
        )
    except ServingFailed as error:
        sys.exit(_failed(control, error))


class Talk:
    """What a worker says to its parent and hears from it."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._node: Node | None = None
        self._is_ready: bool | None = None
        self._told: list[Message] = []  # before there was a node to do it
        self._doing: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Hear the parent from now on, and its end."""
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._hear)

    def listening(self, node: Node) -> None:
        """Say where this worker listens; it is told where all of them do."""
        self._node = node
        node.pass_drain_on = lambda: self._say({"drain": True})
        self._say({"listening": node.address})
        for message in self._told:
            self._do(node, message)

    def serving(self, is_ready: bool) -> None:
        """Say whether clients are served here."""
        if is_ready != self._is_ready:
            self._is_ready = is_ready
            self._say({"serving": is_ready})

    def _hear(self) -> None:
        try:
            received = self._control.receive()
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:  # nobody would end this process, or take notice of it
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            os.kill(os.getpid(), signal.SIGTERM)
        elif received.message == {"alive": True}:
            self._say(received.message)
        elif self._node is None:
            self._told.append(received.message)
        else:
            self._do(self._node, received.message)

    def _do(self, node: Node, told: Message) -> None:
        match told:
            case {"node_id": str(node_id), "workers": list(listen)}:
                doing = asyncio.create_task(self._name_workers(node, node_id, listen))
            case {"quarantine": list(placed), "reason": str(reason), "is_written": bool(is_written)}:
                doing = asyncio.create_task(node.note_quarantine(placed_version(placed), reason, is_written=is_written))
            case {"drain": True}:
                node.announce_drain()
                return
            case _:
                return
        self._doing.add(doing)
        doing.add_done_callback(self._doing.discard)

    async def _name_workers(self, node: Node, node_id: str, listen: Sequence[str]) -> None:
        await node.name_workers(node_id, listen)
        self._say({"ready": True})

    def _say(self, message: dict[str, object]) -> None:
        try:
            self._control.send(message)
        except OSError:  # the parent has gone; hearing it tells so
            return


def _failed(control: Channel, error: Exception) -> int:
    control.send({"failed": str(error)})
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
