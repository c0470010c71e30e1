"""Expositions of several processes as one: all samples of a metric must stand together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_BEGIN: Final = b"# HELP "


def joined(expositions: Iterable[bytes]) -> bytes:
    """Return the samples of all under the head of each metric once.

    Each exposition is as prometheus_client writes it: of every metric two lines of head, HELP first, and its samples.
    """
    metrics: dict[bytes, list[bytes]] = {}
    for exposition in expositions:
        for metric in (b"\n" + exposition).split(b"\n" + _BEGIN)[1:]:
            text, kind, *samples = metric.removesuffix(b"\n").split(b"\n", 2)
            metrics.setdefault(_BEGIN + text + b"\n" + kind, []).extend(samples)
    return b"".join(b"\n".join((head, *samples)) + b"\n" for head, samples in metrics.items())
