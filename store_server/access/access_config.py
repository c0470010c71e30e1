"""Settings of who may do what on a node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from store_server.access.allowed_sources import AllowedSources


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessConfig:
    """Whom a node lets do what. Checked on creation; raises ValueError."""

    tokens: Path | None = None
    """The file of credentials, see `credentials`. None admits anybody."""
    audit_log: Path | None = None
    """Where changes and refusals are written down, beside the ordinary log if None."""
    allowed_sources: tuple[str, ...] = ()
    """What attached and copied versions may come from, see `allowed_sources`."""
    admin_listen: str | None = None
    """HOST:PORT or unix:///PATH where changes are taken, and not where lookups are; None for there, too."""

    speaks_for_node: bool = True
    """Of several workers one alone writes down what all of them see, and listens at `admin_listen`."""

    def __post_init__(self) -> None:
        AllowedSources.parse(self.allowed_sources)
