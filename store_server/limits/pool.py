"""An amount of something that clients share, of which none may take all."""

from __future__ import annotations


class Pool:
    """Hands out up to `most`, to each client as much as would be left after it at most.

    This is the dynamic threshold of shared buffers (Choudhury and Hahne, 1998): one client alone gets half, two a third
    each, and whoever comes next always finds something. Who holds nothing gets whatever is left. Belongs to the event
    loop.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._taken_by: dict[str, int] = {}

    def fits(self, client: str, amount: int) -> bool:
        """Tell whether a client may take so much now."""
        mine, left = self._taken_by.get(client, 0), self.most - self.taken
        return mine + amount <= left or (mine == 0 and amount <= left)

    @property
    def fullness(self) -> float:
        """How near it is to refusing somebody, 1 where it does: whoever holds most, or a stranger. For any thread."""
        most_of_one, left = max([*self._taken_by.values()], default=0), self.most - self.taken
        return max(min(1.0, most_of_one / left) if left > 0 else 1.0, self.taken / self.most)

    def take(self, client: str, amount: int) -> None:
        """Count it as taken, whether it fits or not."""
        self.taken += amount
        self._taken_by[client] = self._taken_by.get(client, 0) + amount

    def give(self, client: str, amount: int) -> None:
        """Count it as given back."""
        self.taken -= amount
        left = self._taken_by[client] - amount
        if left:
            self._taken_by[client] = left
        else:
            del self._taken_by[client]
