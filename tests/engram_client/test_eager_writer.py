"""Writes begin on the spot, one at a time, and go on by themselves."""

import asyncio

import pytest

from engram_client.eager_writer import EagerWriter


class Ended(Exception):
    """What this test's writes raise once they can write no more."""


class Wire:
    """Takes messages to write, and writes each when the test says so; `waits` is what a write waits for."""

    def __init__(self, *messages, waits=1):
        self.messages = list(messages)
        self.begun, self.written = [], []
        self.waits = waits
        self.answers = []
        self.failures = []
        self.writer = EagerWriter(self.write, self.next_message, (Ended,), self.failures.append)

    def next_message(self):
        return self.messages.pop(0) if self.messages else None

    async def write(self, message):
        self.begun.append(message)
        for _ in range(self.waits):
            self.answers.append(asyncio.get_running_loop().create_future())
            await self.answers[-1]
        self.written.append(message)

    async def answer(self, error=None):
        """Resolve what is waited for, and let what waits for it run."""
        answer = self.answers.pop(0)
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
        await asyncio.sleep(0)


async def test_a_write_begins_before_anything_else_runs():
    wire = Wire(b"1")

    wire.writer.wake()

    assert wire.begun == [b"1"]


async def test_one_message_is_written_at_a_time_and_the_next_follows_by_itself():
    wire = Wire(b"1", b"2", b"3")

    wire.writer.wake()
    wire.writer.wake()
    assert wire.begun == [b"1"]
    await wire.answer()
    assert (wire.written, wire.begun) == ([b"1"], [b"1", b"2"])
    await wire.answer()
    await wire.answer()
    assert wire.written == [b"1", b"2", b"3"]


async def test_it_asks_again_only_when_it_is_woken():
    wire = Wire(b"1")
    wire.writer.wake()
    await wire.answer()

    wire.messages.append(b"2")
    await asyncio.sleep(0)
    assert wire.begun == [b"1"]
    wire.writer.wake()
    assert wire.begun == [b"1", b"2"]


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_a_write_may_wait_for_any_number_of_things(waits):
    wire = Wire(b"1", b"2", waits=waits)

    wire.writer.wake()
    for _ in range(2 * waits):
        await wire.answer()

    assert wire.written == [b"1", b"2"]


async def test_a_write_may_only_let_others_have_their_turn():
    written = asyncio.Event()

    async def write(_):
        await asyncio.sleep(0)
        written.set()

    messages = [b"1"]
    failures = []
    EagerWriter(write, lambda: messages.pop() if messages else None, (Ended,), failures.append).wake()

    assert not written.is_set()
    await asyncio.wait_for(written.wait(), 60)
    assert not failures


@pytest.mark.parametrize("end", [Ended(), asyncio.CancelledError()])
async def test_nothing_is_written_after_the_end(end):
    wire = Wire(b"1", b"2")
    wire.writer.wake()

    await wire.answer(end)
    wire.writer.wake()

    assert (wire.begun, wire.written, wire.failures) == ([b"1"], [], [])


@pytest.mark.parametrize("waits", [0, 1])
async def test_any_other_error_is_told_and_is_the_end(waits):
    mistake = MemoryError("no memory for the message")
    wire = Wire(b"1", b"2", waits=1)
    if not waits:
        wire.next_message = raising(mistake)
        wire.writer = EagerWriter(wire.write, wire.next_message, (Ended,), wire.failures.append)

    wire.writer.wake()
    if waits:
        await wire.answer(mistake)
    wire.writer.wake()

    assert wire.failures == [mistake]
    assert wire.written == []


async def test_an_interrupt_is_told_and_goes_on_to_the_caller():
    wire = Wire()
    writer = EagerWriter(wire.write, raising(KeyboardInterrupt()), (Ended,), wire.failures.append)

    with pytest.raises(KeyboardInterrupt):
        writer.wake()
    writer.wake()

    assert [type(failure) for failure in wire.failures] == [KeyboardInterrupt]


def raising(error):
    def next_message():
        raise error

    return next_message


async def test_a_caller_that_is_cancelled_takes_no_write_with_it():
    wire = Wire(b"1")

    async def caller():
        wire.writer.wake()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    await wire.answer()

    assert wire.written == [b"1"]
