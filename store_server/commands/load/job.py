"""What a client process is told: once what to fetch, and for each run how fast and how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from store_server.commands.connection_options import ConnectionOptions
from store_server.commands.load.arrivals import Spacing
from store_server.commands.load.checks import Check
from store_server.commands.load.row_choice import RowChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is fetched; the same for all runs and all processes."""

    url: str
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)
    table: str
    version: str
    num_rows: int
    row_bytes: int
    choice: RowChoice
    check: Check
    root: Path | None
    rows_per_fetch: int
    max_in_flight: int
    """Fetches under way at once, of all processes together."""
    processes: int
    timeout_seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How fast and how long. A rate makes an open loop; None a closed one, with `max_in_flight` always under way."""

    rate: float | None
    spacing: Spacing = Spacing.poisson
    burst: int = 1
    warm_up_seconds: float
    duration_seconds: float
