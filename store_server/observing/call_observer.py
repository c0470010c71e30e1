"""Who is told of each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

Kind: TypeAlias = Literal["unary", "server_stream", "bidi_stream"]


class Method(NamedTuple):
    """One method of a service, as gRPC names it."""

    service: str
    name: str
    kind: Kind


class CallObserver(Protocol):
    """Is told of calls when they begin and when they end. Belongs to the event loop."""

    def began(self, method: Method) -> Callable[[grpc.StatusCode], None]:
        """Take note of a call; what is returned takes note of its end, with its status."""
        ...


class NobodyObserves:
    """Takes note of nothing."""

    def began(self, method: Method) -> Callable[[grpc.StatusCode], None]:  # noqa: ARG002
        """See CallObserver.began."""
        return _forget


def _forget(_code: grpc.StatusCode) -> None:
    pass
