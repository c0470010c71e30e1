"""Targets that are not as they should be: what the run must find out."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fuzz.target import ACCEPTED, REFUSED, Target, TryOne, Wrong

_SOMETIMES = 0.2


def planted(behaviour: Callable[[], None]) -> Target:
    """Return a target that behaves like that for some of its inputs."""
    return Target("planted", "", 1, partial(_opened, behaviour))


def wrong() -> None:
    """Return other rows than were asked for."""
    raise Wrong("other rows")


def hang() -> None:
    """Never end."""
    time.sleep(600)


def die() -> None:
    """End the process, as a bad pointer does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def snoop() -> None:
    """Read what is none of its business."""
    Path("/etc/passwd").read_bytes()


def accepting(_: Path) -> contextlib.AbstractContextManager[TryOne]:
    """Accept everything."""
    return contextlib.nullcontext(_accepted)


def _opened(behaviour: Callable[[], None], _: Path) -> contextlib.AbstractContextManager[TryOne]:
    return contextlib.nullcontext(partial(_behaving, behaviour))


def _behaving(behaviour: Callable[[], None], rng: random.Random) -> str:
    if rng.random() < _SOMETIMES:
        behaviour()
    return rng.choice((ACCEPTED, REFUSED))


def _accepted(_: random.Random) -> str:
    return ACCEPTED
