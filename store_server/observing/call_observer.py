"""Who is told of each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import grpc

    from engram_store.codec import Failure

    Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

Kind: TypeAlias = Literal["unary", "client_stream", "server_stream", "bidi_stream"]


class Method(NamedTuple):
    """One method of a service, as gRPC names it."""

    service: str
    name: str
    kind: Kind


class ObservedCall(Protocol):
    """Is told what becomes of one call."""

    caller: str
    """What logs call who made it; "" before that is known."""

    @property
    def request_id(self) -> str:
        """What logs call the call itself: the name that the caller gave it, if it gave one."""
        ...

    def received(self) -> None:
        """Take note of a message that came from the caller."""
        ...

    def sent(self) -> None:
        """Take note of a message that is on its way to the caller."""
        ...

    def failed(self, failure: Failure) -> None:
        """Take note of what the caller is told of a request, of which a stream may have many."""
        ...

    def slow(self, seconds: float) -> None:
        """Take note of a request on a stream that was answered after so long."""
        ...

    def ended(self, code: grpc.StatusCode) -> None:
        """Take note of the end of the call, with its status."""
        ...


class CallObserver(Protocol):
    """Is told of calls when they begin. Belongs to the event loop."""

    def began(self, method: Method, metadata: Callable[[], Metadata | None]) -> ObservedCall:
        """Take note of a call, and return who is told of the rest of it. `metadata` returns what came with it."""
        ...


class NobodyObserves:
    """Takes note of nothing."""

    def began(self, method: Method, metadata: Callable[[], Metadata | None]) -> ObservedCall:  # noqa: ARG002
        """See CallObserver.began."""
        return UNOBSERVED


class _UnobservedCall:
    caller = request_id = ""

    def received(self) -> None:
        pass

    def sent(self) -> None:
        pass

    def failed(self, failure: Failure) -> None:
        pass

    def slow(self, seconds: float) -> None:
        pass

    def ended(self, code: grpc.StatusCode) -> None:
        pass


UNOBSERVED: Final[ObservedCall] = _UnobservedCall()
"""A call of which nobody takes note."""
