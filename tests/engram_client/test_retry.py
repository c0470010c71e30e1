"""Trying again waits between the attempts, longer each time, and ends at the time limit."""

import asyncio

import pytest

from engram_client import errors
from engram_client.retry import with_retries
from engram_client.retry_counts import RetryCounts


class Attempts:
    """Fails as often as it is told, then succeeds."""

    def __init__(self, failures):
        self.failures = failures
        self.made = 0

    async def __call__(self):
        self.made += 1
        if self.made <= self.failures:
            raise errors.Unavailable(f"attempt {self.made}")
        return self.made


async def test_pauses_double_up_to_a_second_each_shortened_by_up_to_a_half():
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    assert await with_retries(Attempts(10), 60.0, "asking", sleep=sleep) == 11

    longest = [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1, 1]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len(set(pauses)) == 10  # clients do not return all at once


async def test_each_attempt_but_the_first_is_counted_by_why_the_one_before_failed():
    failures = iter([errors.Unavailable("gone"), errors.Overloaded("busy", 0.1), errors.Unavailable("gone"), None])
    counts = RetryCounts()

    async def attempt():
        if (failure := next(failures)) is not None:
            raise failure

    async def sleep(_seconds):
        pass

    await with_retries(attempt, 60.0, "asking", sleep=sleep, counts=counts)

    assert (counts.after_failures, counts.after_refusals) == (2, 1)


async def test_it_really_pauses_and_ends_at_the_time_limit_with_the_last_failure():
    attempts = Attempts(1_000_000)

    with pytest.raises(errors.Unavailable, match=r"asking: gave up after 0.1 s; .* attempt \d+") as caught:
        await with_retries(attempts, 0.1, "asking")

    assert attempts.made <= 5  # at 0 s, and after pauses of at least 0.01, 0.02, 0.04 and 0.08 s
    assert str(attempts.made) in str(caught.value)


async def test_who_has_failed_already_begins_with_a_pause_and_has_that_much_less_time():
    pauses, attempts = [], Attempts(1_000_000)

    async def sleep(seconds):
        assert attempts.made == len(pauses)
        pauses.append(seconds)
        if len(pauses) == 3:
            await asyncio.get_running_loop().create_future()

    first = errors.Unavailable("the first")
    with pytest.raises(errors.Unavailable, match=r"gave up after 60 s; .* attempt 2"):
        await with_retries(attempts, 60.0, "asking", last=first, seconds_gone=59.9, sleep=sleep)

    assert pauses[0] <= 0.02


async def test_what_is_no_passing_failure_is_not_tried_again():
    async def fail():
        raise errors.TableNotFound("no table")

    async def sleep(seconds):
        raise AssertionError("it pauses")

    with pytest.raises(errors.TableNotFound):
        await with_retries(fail, 60.0, "asking", sleep=sleep)


async def pauses_after(refusals, retry_after=0.1):
    """The pauses of somebody who is refused so often for overload, without those that any failure has."""
    pauses, left = [], [errors.Overloaded("the node is busy", retry_after)] * refusals

    async def sleep(seconds):
        pauses.append(seconds)

    async def attempt():
        if left:
            raise left.pop()

    await with_retries(attempt, 60.0, "asking", sleep=sleep)
    return pauses


async def test_who_is_refused_waits_for_what_the_node_says_and_longer_each_time():
    pauses = await pauses_after(8)

    least = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]  # half of what it may be, two seconds at most
    assert all(most <= pause <= 2 * most + 1.0 for pause, most in zip(pauses, least, strict=True))


async def test_who_is_refused_until_the_time_limit_is_told_why():
    async def attempt():
        raise errors.Overloaded("the node is busy: of --max-queued 10, 10 are taken", 0.05)

    with pytest.raises(errors.Overloaded, match="asking: gave up after 0.2 s; the node is busy: of --max-queued 10"):
        await with_retries(attempt, 0.2, "asking")
