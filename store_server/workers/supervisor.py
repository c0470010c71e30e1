"""The parent of a node's workers: starts them, and again those that die, passes signals on, ends with all of them."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import structlog

from store_server.listen_address import ListenAddress
from store_server.workers.deadly_versions import DeadlyVersions
from store_server.workers.kept_files import KeptFiles
from store_server.workers.process import WorkerProcess, why_it_ended, with_listen
from store_server.workers.restarts import Restarts
from store_server.workers.silence import ask_again_and_again, is_lost, serves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from store_server.config import ServerConfig
    from store_server.placement import Placement
    from store_server.services.health import Readiness
    from store_server.storage.data_root import PlacedVersion
    from store_server.workers.settings import Quarantined

    Start: TypeAlias = Callable[[int, ServerConfig, Placement | None, KeptFiles, Quarantined], WorkerProcess]

log = structlog.get_logger()

_SECONDS_TO_END: Final = 15.0  # beyond those for what is under way: for closing, and for a disk that does not answer
_SECONDS_TO_DIE: Final = 5.0  # once killed; who waits for a dead disk inside the kernel does not even die
SECONDS_BEYOND_DRAIN: Final = _SECONDS_TO_END + _SECONDS_TO_DIE
"""How long a node may take to end after the time for what is under way."""
_TOLD_TO_END: Final = (0, -signal.SIGTERM, -signal.SIGINT)  # by a signal where it could not yet be heard


class WorkersFailed(Exception):
    """A node of several workers cannot start, or cannot go on."""


class _Death(NamedTuple):
    """What became of a worker: it died, or could not even be started."""

    event: str
    reason: str
    served_seconds: float
    culprit: PlacedVersion | None = None


class Supervisor:
    """Runs one worker for each of `configs`, which differ in where they listen."""

    def __init__(
        self,
        configs: Sequence[ServerConfig],
        placements: Sequence[Placement | None],
        *,
        start: Start = WorkerProcess.start,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._configs = list(configs)
        self._placements = placements
        self._start_process = start
        self._sleep = sleep
        self.readiness: Readiness = lambda _: None
        """Is told whether any worker serves clients, again and again."""
        self.liveness: Readiness = lambda _: None
        """Is told whether there is anything to hope for, again and again; see `is_alive`."""
        self._node_id = secrets.token_hex(8)
        self._files = KeptFiles()
        self._deadly = DeadlyVersions(configs[0].root)
        self.restarts: Counter[int] = Counter()
        """How often each worker was started again."""
        self._in_a_row = [Restarts() for _ in self._configs]
        self._workers: dict[int, WorkerProcess] = {}
        self._is_draining = False
        self._signals: list[signal.Signals] = []
        self._stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, is_ready: Callable[[str], None], stops: Callable[[], None] = lambda: None) -> int:
        """Run until told to stop and return the exit code; `is_ready` gets the first worker's address.

        `stops` is called before the workers end.

        Raises WorkersFailed once all workers have ended.
        """
        self._hear_signals()
        asking = asyncio.create_task(ask_again_and_again(self._workers.values, self._tell_health))
        try:
            if await self._listen_all():
                await self._keep_all(lambda: is_ready(self._configs[0].listen))
        finally:
            stops()
            asking.cancel()
            codes = await self._end_all()
            self._files.close()
        return self._exit_code(codes)

    def is_alive(self) -> bool:
        """Tell whether any worker runs or can be replaced: not if all are stuck and cannot even be ended."""
        return not self._workers or not all(is_lost(worker) for worker in self._workers.values())

    @property
    def num_workers(self) -> int:
        """How many there should be."""
        return len(self._configs)

    def worker(self, number: int) -> WorkerProcess | None:
        """Return the latest process of a worker, None if it was not started yet."""
        return self._workers.get(number)

    def _hear_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP on purpose
                loop.add_signal_handler(number, self._pass_on, number)

    def _pass_on(self, number: signal.Signals) -> None:
        log.info("signal received, passed on to the workers", signal=number.name)
        self._signals.append(number)
        if not self._stop.done():
            self._stop.set_result(None)
            self._tell_readiness()
        for worker in self._workers.values():
            # A terminal that was closed ends a node as SIGTERM does: what is under way is finished.
            worker.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    async def _listen_all(self) -> bool:
        """Start the workers and wait until all of them listen; False if told to stop meanwhile."""
        for number in range(len(self._configs)):
            try:
                self._start(number)
            except OSError as error:
                raise WorkersFailed(f"{self._name(number)} could not be started: {error}") from error
        workers = list(self._workers.values())
        for worker in workers:
            await _first_of(self._stop, worker.listening, *(each.ended for each in workers))
            if self._stop.done():
                return False
            for each in workers:
                self._require_running(each)
            # Picked by the worker, perhaps: whoever takes its place listens there, too.
            self._configs[worker.number] = with_listen(self._configs[worker.number], worker.listening.result())
        return True

    def _require_running(self, worker: WorkerProcess) -> None:
        if worker.ended.done():
            event = "" if worker.failure else "did not start: "
            raise WorkersFailed(f"{self._name(worker.number)}: {event}{why_it_ended(worker)}")

    def _start(self, number: int) -> WorkerProcess:
        worker = self._start_process(
            number, self._configs[number], self._placements[number], self._files, self._deadly.unwritten
        )
        self._workers[number] = worker
        worker.serving_changed = self._tell_readiness
        worker.drain_asked = self._drain_all
        if self._is_draining:
            worker.drain()
        return worker

    def _drain_all(self) -> None:
        """Have all workers announce that the node stops, and those that are started after this."""
        self._is_draining = True
        for worker in self._workers.values():
            worker.drain()

    def _tell_readiness(self) -> None:
        self.readiness(self._is_serving() and not self._stop.done())

    def _is_serving(self) -> bool:
        return any(serves(worker) for worker in self._workers.values())

    def _is_hopeful(self) -> bool:
        """Tell whether any worker serves, or may soon: it loads, is silent for a moment, or is started again."""
        return self._is_serving() or any(
            worker.is_serving is not False and not is_lost(worker) and not self._in_a_row[number].are_hopeless
            for number, worker in self._workers.items()
        )

    def _tell_health(self) -> None:
        self._tell_readiness()
        self.liveness(self.is_alive())

    async def _keep_all(self, is_ready: Callable[[], None]) -> None:
        """Start again what dies, until told to stop; `is_ready` is called once all workers serve.

        Raises WorkersFailed when one ends before it first served, or dies too often with no other that serves or will.
        """
        workers = list(self._workers.values())
        keeping = [asyncio.create_task(self._keep(number)) for number in self._workers]
        all_ready = asyncio.create_task(_all_of(worker.ready for worker in workers))
        try:
            await _first_of(self._stop, all_ready, *keeping)
            if all_ready.done() and not self._stop.done():
                is_ready()
                await _first_of(self._stop, *keeping)
            for task in keeping:
                if task.done():
                    task.result()
        finally:
            for task in (*keeping, all_ready):
                task.cancel()
            await asyncio.gather(*keeping, all_ready, return_exceptions=True)

    async def _keep(self, number: int) -> None:
        await self._serve_first(self._workers[number])
        in_a_row = self._in_a_row[number]
        death = await self._death_of(number)
        while not self._stop.done():
            is_explained = await self._is_explained(death)
            delay = in_a_row.delay_after(death.served_seconds, is_explained=is_explained)
            if in_a_row.are_hopeless and not is_explained and not self._is_hopeful():
                raise WorkersFailed(f"worker {number} {death.event} {in_a_row.deaths} times in a row: {death.reason}")
            log.error(
                f"worker {death.event}, another takes its place", worker=number, reason=death.reason, seconds=delay
            )
            await self._sleep(delay)
            if self._stop.done():  # whoever was started now would not hear the signal
                return
            try:
                await self._replace(number)
            except OSError as error:  # out of descriptors, processes or memory: perhaps not for long
                death = _Death("could not be started", str(error), served_seconds=0.0)
            else:
                death = await self._death_of(number)

    async def _serve_first(self, worker: WorkerProcess) -> None:
        """Wait until a worker of those that the node starts with serves; raises WorkersFailed if it ends before."""
        worker.name_workers(self._node_id, self._listen_names())
        await _first_of(worker.ready, worker.ended)
        if not worker.ready.done():
            self._require_running(worker)
        log.info("worker ready", worker=worker.number, address=worker.listening.result(), pid=worker.pid)

    async def _is_explained(self, death: _Death) -> bool:
        """Tell whether a worker that died was itself sound; a version that ended workers before is served no more."""
        if death.culprit is None:
            return False
        verdict = await self._deadly.note_death(death.culprit, death.reason)
        if verdict is not None:
            for worker in self._workers.values():
                worker.tell_quarantine(verdict.placed, verdict.reason, is_written=verdict.is_written)
        return self._deadly.explains(death.culprit)

    async def _death_of(self, number: int) -> _Death:
        """Wait until a worker ends."""
        worker = self._workers[number]
        await asyncio.shield(worker.ended)
        return _Death("died", why_it_ended(worker), worker.served_seconds, worker.culprit)

    async def _replace(self, number: int) -> None:
        """Start a worker again, and wait until it serves or has ended; raises OSError if it cannot be started."""
        worker = self._start(number)
        self.restarts[number] += 1
        await _first_of(worker.listening, worker.ended)
        if worker.listening.done():
            worker.name_workers(self._node_id, self._listen_names())
            log.info("worker replaced", worker=number, address=worker.listening.result(), pid=worker.pid)

    async def _end_all(self) -> list[int]:
        """End the workers that still run, within their time; return all exit codes."""
        workers = list(self._workers.values())
        if not self._signals:
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        ends = [worker.ended for worker in workers]
        if ends:
            seconds = self._configs[0].drain_seconds + _SECONDS_TO_END
            _, late = await asyncio.wait(ends, timeout=seconds)
            for worker in workers:
                if worker.ended in late:
                    log.error("worker does not end, killed", worker=worker.number, seconds=seconds)
                    worker.send_signal(signal.SIGKILL)
            _, lost = await asyncio.wait(ends, timeout=_SECONDS_TO_DIE)
            for worker in workers:
                if worker.ended in lost:
                    log.error("worker was killed and does not end, left behind", worker=worker.number, pid=worker.pid)
        return [end.result() if end.done() else -signal.SIGKILL for end in ends]

    def _exit_code(self, codes: list[int]) -> int:
        first, *more = self._signals
        if more or first == signal.SIGHUP:
            return 128 + (more[0] if more else first)
        return 0 if all(code in _TOLD_TO_END for code in codes) else 1

    def _name(self, number: int) -> str:
        """Name a worker to somebody who may not know that there are several."""
        return f"worker {number} of {len(self._configs)}"

    def _listen_names(self) -> list[str]:
        """Return where the workers listen, as clients are told: see the message Workers."""
        addresses = [ListenAddress.parse(config.listen) for config in self._configs]
        return [PurePath(address.path).name if address.path else str(address.port) for address in addresses]


async def _first_of(*events: asyncio.Future[Any]) -> None:
    await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)


async def _all_of(events: Iterable[asyncio.Future[Any]]) -> None:
    await asyncio.wait(list(events))  # which, unlike gather, leaves them as they are when it is cancelled


async def supervise(
    configs: Sequence[ServerConfig],
    placements: Sequence[Placement | None],
    is_ready: Callable[[str, Callable[[], bool]], None],
    whole: ServerConfig,
    *,
    stops: Callable[[], None] = lambda: None,
) -> int:
    """Run a worker for each of `configs` until told to stop, show their metrics and answer probes; see Supervisor.run.

    `is_ready` is given what tells whether the node is alive, too: see Supervisor.is_alive.
    `whole` are the settings of the node, of which each worker has its part. Raises CannotListen.
    """
    supervisor = Supervisor(configs, placements)
    async with AsyncExitStack() as stack:
        # Imported only where they are wanted: it takes memory.
        if whole.health_listen is not None:
            from store_server.services.health_port import health_port

            port = await stack.enter_async_context(health_port(whole.health_listen))
            supervisor.readiness, supervisor.liveness = port.tell, port.tell_alive
        if whole.metrics_listen is not None:
            from store_server.observing.metrics_port import metrics_shown
            from store_server.workers.worker_metrics import WorkerMetrics

            await stack.enter_async_context(metrics_shown(whole, WorkerMetrics(supervisor).text))
        return await supervisor.run(lambda address: is_ready(address, supervisor.is_alive), stops)
