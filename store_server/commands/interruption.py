"""What Ctrl-C leaves of a command that stores or measures something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class NothingStored(Exception):
    """Ctrl-C ended a command before anything of it was published."""


class NothingMeasured(Exception):
    """Ctrl-C ended a load in its warm-up."""


class BeforePublishing:
    """Stands around what a command does until it publishes; makes NothingStored of a KeyboardInterrupt until then."""

    def __init__(self) -> None:
        """Begin before."""
        self._is_over = False

    def end(self) -> None:
        """Say that publishing begins: whether it came about cannot be told from an interrupt that comes now."""
        self._is_over = True

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Raise NothingStored for a KeyboardInterrupt, unless publishing has begun."""
        if isinstance(error, KeyboardInterrupt) and not self._is_over:
            raise NothingStored from error
