"""Fuzzes a real node over the wire, target by target, while an ordinary client sees that it is what it was."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import grpc
from fuzz.finding import TIME_LIMIT_SECONDS, Finding
from fuzz.target import input_rng
from fuzz.wire.calls import Calls
from fuzz.wire.connections import Connections
from fuzz.wire.guarded import Guarded
from fuzz.wire.node import FuzzedNode, fuzzed_node
from fuzz.wire.ports import SidePorts
from fuzz.wire.streams import Streams
from support.growth import MOST_DESCRIPTORS, num_sockets

_SAMPLES: Final = 40
_MOST_FAULTS: Final = 20
_LOOK_SECONDS: Final = 0.01
_REST_LOOK_SECONDS: Final = 0.2
_REST_SECONDS: Final = 20.0  # for connections to be closed after the last client
_TRIES_A_CHANNEL: Final = 200  # after which a client comes again on a new connection
TrySome: TypeAlias = Callable[[random.Random], Awaitable[Counter[str]]]
"""Sends one hostile input or several, and counts what came of each."""


class WireTarget(NamedTuple):
    """`try_some` says how a channel is used. So many clients are `at_once` as there must be for none to wait long."""

    name: str
    says: str
    share: int
    """Large enough for a third of it to be a warm-up: a node fills its pools for some 20,000 inputs of one kind."""
    at_once: int
    try_some: Callable[[FuzzedNode, grpc.aio.Channel], TrySome]
    outcomes_needed: tuple[str, ...]
    kept_by_grpc: float = 0.0
    """Bytes an input that a server of gRPC alone keeps of the same: `python -m fuzz.grpc_alone` measures it."""
    is_of_guarded: bool = False
    """Whether the node asks who calls."""


WIRE_TARGETS: Final = (
    WireTarget(
        "wire-lookup",
        "single lookups, each with the status and rows it must have",
        60,
        16,
        lambda node, channel: Calls(node, channel).look_up,
        ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE"),
    ),
    WireTarget(
        "wire-stream",
        "lookup streams, each lookup with its own answer",
        120,
        16,
        lambda node, channel: Streams(node, channel).send_many,
        ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "dropped"),
    ),
    WireTarget(
        "wire-ending",
        "streams that a message ends which cannot be read",
        20,
        16,
        lambda node, channel: Streams(node, channel).send_and_break,
        ("OK", "INVALID_STREAM"),
    ),
    WireTarget(
        "wire-methods",
        "all other methods, unknown ones and metadata",
        90,
        32,
        lambda node, channel: Calls(node, channel).call_any,
        ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"),
    ),
    WireTarget(
        "wire-frames",
        "connections that break HTTP/2, compress bombs, never read or never speak",
        90,
        64,
        lambda node, _: Connections(node).speak,
        ("answered", "broken", "unread", "babbled"),
        kept_by_grpc=187.0,
    ),
    WireTarget(
        "wire-ports",
        "the ports for metrics and for probes",
        10,
        4,
        lambda node, _: SidePorts(node).speak,
        ("200", "404", "health"),
    ),
    WireTarget(
        "wire-guarded",
        "lookups and changes with credentials that are right, nearly right, or not there",
        30,
        64,
        lambda node, channel: Guarded(node, channel).call,
        ("OK", "UNAUTHENTICATED", "INVALID_ARGUMENT", "NOT_FOUND"),
        is_of_guarded=True,
    ),
)


def run_over_the_wire(targets: Sequence[tuple[WireTarget, int]], *, seed: int, first: int = 0) -> list[Finding]:
    """Give each target its number of inputs, from try number `first` on, all to one node, or to one that is guarded."""
    findings: list[Finding] = []
    for is_guarded in (False, True):
        asked = [(target, inputs) for target, inputs in targets if target.is_of_guarded == is_guarded]
        if asked:
            with (
                tempfile.TemporaryDirectory(prefix="engram-store-fuzz-") as directory,
                fuzzed_node(Path(directory), is_guarded=is_guarded) as node,
            ):
                findings += asyncio.run(_run_all(node, asked, seed, first))
    return findings


async def _run_all(node: FuzzedNode, targets: Sequence[tuple[WireTarget, int]], seed: int, first: int) -> list[Finding]:
    findings = []
    for target, inputs in targets:
        findings.append(await _run(node, target, inputs, seed, first))
        if not _is_alive(node, findings[-1]):
            break
    return findings


async def _run(node: FuzzedNode, target: WireTarget, inputs: int, seed: int, first: int) -> Finding:
    finding = Finding(
        target=target.name, seed=seed, outcomes_needed=target.outcomes_needed, kept_by_grpc=target.kept_by_grpc
    )
    numbers = itertools.count(first)
    await _note_wrong_rows(node, finding)  # by an ordinary client, whose connections stay
    open_before = num_sockets(node.pid)
    looking = asyncio.create_task(_look_on(node, finding, inputs))
    await asyncio.gather(*(_one_client(node, target, numbers, finding, inputs) for _ in range(target.at_once)))
    await looking
    with suppress(OSError):  # the node has gone, which is found below
        await _note_left_open(node, finding, open_before)
    return finding


async def _note_left_open(node: FuzzedNode, finding: Finding, before: int) -> None:
    """Once all clients have gone, the node has no more sockets than before they came, but for a few."""
    ends = time.monotonic() + _REST_SECONDS
    while (left := num_sockets(node.pid) - before) > MOST_DESCRIPTORS and time.monotonic() < ends:
        gc.collect()  # gRPC's channels are closed where nothing holds them any more
        await asyncio.sleep(_REST_LOOK_SECONDS)
    if left > MOST_DESCRIPTORS:
        finding.faults.append(f"{left} sockets more {_REST_SECONDS:g} s after the last client than before the first")


async def _one_client(
    node: FuzzedNode, target: WireTarget, numbers: itertools.count[int], finding: Finding, inputs: int
) -> None:
    while not _is_over(finding, inputs):
        async with _channel(node) as channel:
            try_some = target.try_some(node, channel)
            for _ in range(_TRIES_A_CHANNEL):
                if _is_over(finding, inputs):
                    break
                await _try(try_some, next(numbers), finding)


async def _try(try_some: TrySome, number: int, finding: Finding) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(2 * TIME_LIMIT_SECONDS):
            outcomes = await try_some(input_rng(finding.seed, finding.target, number))
    except Exception as error:  # whatever it is, it must not come out
        outcomes = Counter(wrong=1)
        finding.faults.append(f"try {number} of seed {finding.seed}: {type(error).__name__}: {error!s:.1500}")
    finding.longest_seconds = max(finding.longest_seconds, time.monotonic() - began)
    finding.outcomes += outcomes
    finding.inputs += outcomes.total()


def _is_over(finding: Finding, inputs: int) -> bool:
    return finding.inputs >= inputs or len(finding.faults) >= _MOST_FAULTS


async def _look_on(node: FuzzedNode, finding: Finding, inputs: int) -> None:
    """As the inputs come, see that an ordinary client has its rows, that the node lives, and what it holds."""
    for part in range(1, _SAMPLES + 1):
        while finding.inputs < inputs * part / _SAMPLES and not _is_over(finding, inputs):
            await asyncio.sleep(_LOOK_SECONDS)
        if finding.growth.samples and finding.growth.samples[-1].at == finding.inputs:
            continue
        await _note_wrong_rows(node, finding)
        if not _is_alive(node, finding):
            return
        finding.growth.look(node.pid, finding.inputs, with_sockets=False)


async def _note_wrong_rows(node: FuzzedNode, finding: Finding) -> None:
    try:
        async with asyncio.timeout(2 * TIME_LIMIT_SECONDS):
            await node.check_right_rows()
    except Exception as error:  # an ordinary client must not notice
        finding.faults.append(f"after {finding.inputs} inputs: {type(error).__name__}: {error}")


def _is_alive(node: FuzzedNode, finding: Finding) -> bool:
    try:
        node.check_alive()
    except AssertionError as error:
        finding.faults.insert(0, f"after {finding.inputs} inputs: {error}")
        return False
    return True


@asynccontextmanager
async def _channel(node: FuzzedNode) -> AsyncIterator[grpc.aio.Channel]:
    # One connection of its own for each channel: by default those to the same address share one.
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(node.address, options=options) as channel:
        yield channel
