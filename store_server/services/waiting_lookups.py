"""The lookups of one stream that were read and not begun: admitted by the node, and given up by their client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engram_store.codec import Request
from store_server.limits.load import BYTES_OF_ANY_REQUEST, ClientLoad
from store_server.services.together import Together


@dataclass(slots=True, eq=False)
class Waiting:
    """Lookups that wait together; once all of them are given up, `requests` is empty."""

    requests: list[Request]
    held_bytes: int
    """What they are counted with among the bytes of requests."""
    room_bytes: int | None
    """What their rows will take, None if that is not known."""
    read_at: float
    """When, by time.perf_counter."""

    @property
    def cost(self) -> int:
        """How long their turn is, in bytes that it moves."""
        return self.held_bytes if self.room_bytes is None else self.room_bytes + self.overhead

    @property
    def overhead(self) -> int:
        """What they cost beside their rows."""
        return len(self.requests) * BYTES_OF_ANY_REQUEST or BYTES_OF_ANY_REQUEST


class WaitingLookups:
    """Knows each lookup by its id, and gives back what the node's load counts for it, once, whatever becomes of it."""

    def __init__(self, load: ClientLoad) -> None:
        self._load = load
        self._by_id: dict[int, Waiting] = {}
        self._held: set[Waiting] = set()

    def admit(self, together: Together, message_bytes: int, read_at: float) -> Waiting:
        """Hold lookups of a message of so many bytes. Raises CallFailed where that is too much for the node."""
        requests, reply_bytes = together
        held_bytes = message_bytes + len(requests) * BYTES_OF_ANY_REQUEST
        self._load.admit(len(requests), held_bytes)
        return self._keep(Waiting(list(requests), held_bytes, reply_bytes, read_at))

    def give_up(self, ids: Iterable[int]) -> list[Request]:
        """Hold those of these lookups no longer that were not begun, and return them."""
        given_up = []
        for number in ids:
            waiting = self._by_id.get(number)
            if waiting is not None:
                given_up.append(self._take_out(waiting, number))
        return given_up

    def dismiss(self, waiting: Waiting) -> None:
        """Hold lookups no longer: they are begun, and cannot be given up. Those that were given up are not held."""
        if waiting in self._held:
            self._held.discard(waiting)
            for request in waiting.requests:
                self._by_id.pop(request.id, None)
            self._load.dismiss(len(waiting.requests), waiting.held_bytes)

    def divide(self, waiting: Waiting, reply_bytes: Callable[[Request], int | None]) -> list[Waiting]:
        """Hold and return each of several lookups by itself."""
        self.dismiss(waiting)
        # Copies, so that one that waits for long does not hold the message of all.
        ones = [request._replace(rows=request.rows.copy()) for request in waiting.requests]
        return [
            self._hold(Waiting([one], one.rows.nbytes + BYTES_OF_ANY_REQUEST, reply_bytes(one), waiting.read_at))
            for one in ones
        ]

    def close(self) -> None:
        """Hold nothing any more."""
        for waiting in list(self._held):
            self.dismiss(waiting)

    def _hold(self, waiting: Waiting) -> Waiting:
        self._load.hold(len(waiting.requests), waiting.held_bytes)
        return self._keep(waiting)

    def _keep(self, waiting: Waiting) -> Waiting:
        self._held.add(waiting)
        for request in waiting.requests:
            self._by_id[request.id] = waiting
        return waiting

    def _take_out(self, waiting: Waiting, number: int) -> Request:
        if len(waiting.requests) == 1:
            self.dismiss(waiting)
        else:
            del self._by_id[number]
            self._load.dismiss(1, 0)
        place = next(place for place, request in enumerate(waiting.requests) if request.id == number)
        return waiting.requests.pop(place)
