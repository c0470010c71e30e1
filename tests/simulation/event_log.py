"""What happened, in the order in which it did: the same for the same seed, byte for byte."""

import asyncio


class EventLog:
    """Lines with the virtual time."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._now = asyncio.get_running_loop().time

    def say(self, what: str) -> None:
        self.lines.append(f"{self._now():12.6f} {what}")
