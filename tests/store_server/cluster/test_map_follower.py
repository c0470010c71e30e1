"""Following a source of shard maps that fails now and then."""

import asyncio

from structlog.testing import capture_logs
from support.shard_maps import later, shard_map_of

from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.known_map import KnownMap
from store_server.cluster.map_follower import follow_map

FIRST = shard_map_of()
PATIENCE_SECONDS = 30


class ScriptedSource:
    """Yields or raises what it was given, each list one call of `follow`; then waits for ever."""

    def __init__(self, *calls):
        self._calls = iter(calls)

    async def follow(self):
        for step in next(self._calls):
            if isinstance(step, Exception):
                raise step
            yield step
        await asyncio.Event().wait()


async def followed(source, known, until):
    """What was told until `until` of it came."""
    told = []
    enough = asyncio.Event()

    def tell(what):
        told.append(what)
        if len(told) == until:
            enough.set()

    task = asyncio.create_task(follow_map(source, known, tell, lambda: tell("failed"), where="here", pause_seconds=0))
    await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)
    task.cancel()
    return told


async def test_maps_are_taken_and_then_told(tmp_path):
    known = KnownMap(tmp_path)

    with capture_logs() as logs:
        assert await followed(ScriptedSource([None, FIRST, later(FIRST), FIRST]), known, 4) == [
            None,
            FIRST,
            later(FIRST),
            FIRST,
        ]
    assert (logs[0]["event"], logs[0]["source"]) == ("the source has no shard map", "here")
    assert known.newest == later(FIRST)


async def test_a_source_that_fails_is_asked_again_and_each_reason_is_said_once(tmp_path):
    known = KnownMap(tmp_path)
    away, wrong = MapSourceFailed("away"), MapSourceFailed("wrong")

    with capture_logs() as logs:
        told = await followed(ScriptedSource([FIRST, away], [away], [wrong], [wrong], [later(FIRST)]), known, 6)

    assert told == [FIRST, "failed", "failed", "failed", "failed", later(FIRST)]
    assert [(log["event"], log.get("error")) for log in logs] == [
        ("shard map", None),
        ("the source of the shard map fails; the last map stays", "away"),
        ("the source of the shard map fails; the last map stays", "wrong"),
        ("the source of the shard map answers again", None),
        ("shard map", None),
    ]
