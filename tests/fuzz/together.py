"""All readers in one process, in turns: the short form, for which a process each would cost more than the inputs."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from fuzz.target import ACCEPTED, REFUSED, Target, TryOne, Wrong


class Together:
    """What opens the targets; one of them gets an input, by their shares."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets

    @contextlib.contextmanager
    def __call__(self, directory: Path) -> Iterator[TryOne]:
        """Open all of them, each in a directory of its own."""
        shares = [target.share for target in self._targets]
        with contextlib.ExitStack() as stack:
            opened = {}
            for target in self._targets:
                (directory / target.name).mkdir()
                opened[target.name] = stack.enter_context(target.opened(directory / target.name))

            def try_one(rng: random.Random) -> str:
                (name,) = rng.choices(list(opened), shares)
                try:
                    return f"{name} {opened[name](rng)}"
                except Exception as error:
                    raise Wrong(f"{name}: {type(error).__name__}: {error}") from error

            yield try_one


def together(targets: Sequence[Target]) -> tuple[Target, tuple[str, ...]]:
    """Return them as one, and the outcomes that it needs."""
    needed = tuple(f"{target.name} {outcome}" for target in targets for outcome in (ACCEPTED, REFUSED))
    return Target("together", "all readers in turns", 1, Together(targets)), needed
