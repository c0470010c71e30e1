"""What a node shows of whom it admits: whether it still learns of changes, and whether it still takes them down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_server.access.node_access import NodeAccess
    from store_server.access.server_credentials import ServerCredentials
    from store_server.observing.readings import Readings


def read_access(readings: Readings, access: NodeAccess, shown: Callable[[], ServerCredentials | None]) -> None:
    """Show how often files of credentials could not be read, and events could not be written down.

    `shown` returns what the node shows over TLS, once that was read; None for nothing.
    """

    def stale() -> dict[str, bool]:
        own = shown()
        return access.stale_files() | ({} if own is None else own.stale_files())

    def failures() -> dict[str, float]:
        own = shown()
        return access.reload_failures() | ({} if own is None else own.reload_failures())

    readings.counters(
        "engram_credentials_reload_failures_total",
        "Looks at a file of credentials or a certificate that gave nothing: what it last said counts.",
        "file",
        failures,
    )
    readings.gauges(
        "engram_credentials_stale",
        "Whether a file of credentials or a certificate cannot be used as it is now: what it said before counts.",
        "file",
        stale,
    )
    readings.gauges(
        "engram_certificate_expiry_timestamp_seconds",
        "When the certificates in a file expire, the first of them.",
        "file",
        lambda: {} if (own := shown()) is None else {str(file): end for file, end in own.ends().items()},
    )
    readings.counter(
        "engram_audit_failures_total",
        "Changes and refusals that could not be written to the audit log.",
        lambda: access.audit.failures,
    )
