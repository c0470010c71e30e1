"""Turns that clients take while others wait."""

import asyncio

from store_server.limits.fair_turns import FairTurns


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


class Users:
    """Who take turns of one, and what order they had them in."""

    def __init__(self, turns=1):
        self.turns = FairTurns(turns)
        self.order = []
        self.tasks = []

    def ask(self, client, cost=1):
        task = asyncio.create_task(self._take(client, cost))
        self.tasks.append(task)
        return task

    async def _take(self, client, cost):
        await self.turns.take(client, cost)
        self.order.append(client)

    async def all(self):
        """The order of all that have asked, each turn given back when it was had."""
        await settled()
        while not all(task.done() for task in self.tasks):
            self.turns.give()
            await settled()
        return "".join(self.order)


async def test_who_asks_once_waits_for_one_turn_of_who_asked_often_before():
    users = Users()
    for client in "aaaaaaab":
        users.ask(client)

    assert await users.all() == "abaaaaaa"


async def test_turns_are_shared_by_their_cost():
    users = Users()
    users.ask("a", 4)
    for _ in range(3):
        users.ask("a", 4)
    for _ in range(12):
        users.ask("b", 1)

    assert await users.all() == "abbbbabbbbabbbba"


async def test_who_had_nothing_for_long_has_saved_nothing():
    users = Users()
    for _ in range(50):
        users.ask("a")
    await users.all()
    for client in "aaabbb":
        users.ask(client)

    assert (await users.all())[50:] in ("ababab", "bababa", "abbaba", "baabab")


async def test_as_many_have_a_turn_at_the_same_time_as_there_are():
    users = Users(turns=3)
    for client in "abcd":
        users.ask(client)
    await settled()

    assert "".join(users.order) == "abc"


async def test_who_goes_away_while_it_waits_or_at_the_moment_of_its_turn_holds_up_nobody():
    users = Users()
    await users.ask("a")
    leaving, at_its_turn = users.ask("b"), users.ask("c")
    users.ask("d")
    await settled()
    leaving.cancel()
    await settled()
    users.turns.give()
    at_its_turn.cancel()
    await settled()

    assert users.order == ["a", "d"]


async def test_clients_that_came_once_are_forgotten():
    turns = FairTurns(1)
    for number in range(10_000):
        await turns.take(str(number), 1)
        turns.give()

    assert len(turns._ends) < 1000
