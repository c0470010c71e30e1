"""Who is told of each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import grpc

Kind: TypeAlias = Literal["unary", "client_stream", "server_stream", "bidi_stream"]


class Method(NamedTuple):
    """One method of a service, as gRPC names it."""

    service: str
    name: str
    kind: Kind


class ObservedCall(Protocol):
    """Is told what becomes of one call."""

    def received(self) -> None:
        """Take note of a message that came from the caller."""
        ...

    def sent(self) -> None:
        """Take note of a message that is on its way to the caller."""
        ...

    def ended(self, code: grpc.StatusCode) -> None:
        """Take note of the end of the call, with its status."""
        ...


class CallObserver(Protocol):
    """Is told of calls when they begin. Belongs to the event loop."""

    def began(self, method: Method) -> ObservedCall:
        """Take note of a call, and return who is told of the rest of it."""
        ...


class NobodyObserves:
    """Takes note of nothing."""

    def began(self, method: Method) -> ObservedCall:  # noqa: ARG002
        """See CallObserver.began."""
        return UNOBSERVED


class _UnobservedCall:
    def received(self) -> None:
        pass

    def sent(self) -> None:
        pass

    def ended(self, code: grpc.StatusCode) -> None:
        pass


UNOBSERVED: Final[ObservedCall] = _UnobservedCall()
"""A call of which nobody takes note."""
