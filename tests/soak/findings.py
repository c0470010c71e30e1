"""What came of a soak, held against its bars."""

from __future__ import annotations

from dataclasses import dataclass, field

from soak.client import Told
from support.growth import FEWEST_SAMPLES, Growth

SECONDS_TO_JUDGE_GROWTH = 300.0
"""Below which what processes hold is told, and not judged: they have not warmed up."""
_MIB = 1 << 20


@dataclass(kw_only=True)
class Findings:
    """All that was done and seen."""

    seconds: float
    told: dict[str, Told] = field(default_factory=dict)
    growth: dict[str, Growth] = field(default_factory=dict)
    swaps: int = 0
    kills: int = 0
    worker_replaced: int = 0
    node_ended_with: int | None = None

    def bars(self) -> list[tuple[str, str, bool]]:
        """Return each bar, what was found, and whether it was met."""
        told = self.told.values()
        fetches, wrong, failed = (sum(getattr(each, name) for each in told) for name in ("fetches", "wrong", "failed"))
        connections = sum(each.connections for each in told)
        failures = "; ".join(failure for each in told for failure in each.failures[:1])
        fewest_versions = min((each.versions_seen for each in told), default=0)
        return [
            (
                "fetches by every client",
                f"{fetches:,} on {connections:,} connections",
                all(each.fetches for each in told) and bool(told),
            ),
            ("no wrong row", f"{wrong} fetches with one", wrong == 0),
            ("no failed fetch", f"{failed} {failures:.300}".strip(), failed == 0),
            (
                "versions swapped and seen",
                f"{self.swaps} swaps, at least {fewest_versions} seen by each",
                fewest_versions > 1 and self.swaps > 0,
            ),
            (
                "workers killed and replaced",
                f"{self.kills} killed, {self.worker_replaced} replaced",
                self.worker_replaced > 0 and self.worker_replaced >= self.kills - 1,
            ),
            ("the node lives", f"exit status {self.node_ended_with}", self.node_ended_with is None),
            *(self._bar_of_growth(name, growth) for name, growth in self.growth.items()),
        ]

    def table(self) -> str:
        """Return a line for each bar."""
        return "\n".join(
            f"{what:<28} {'met' if is_met else 'MISSED':<7} {found}" for what, found, is_met in self.bars()
        )

    @property
    def is_right(self) -> bool:
        """Whether every bar was met."""
        return all(is_met for _, _, is_met in self.bars())

    def _bar_of_growth(self, name: str, growth: Growth) -> tuple[str, str, bool]:
        what = f"{name}: flat"
        if len(growth.samples) < FEWEST_SAMPLES:
            return what, f"{len(growth.samples)} samples only", self.seconds < SECONDS_TO_JUDGE_GROWTH
        memory, descriptors, resident = growth.memory, growth.descriptors, growth.samples[-1].resident_bytes
        found = (
            f"{memory.held / _MIB:.1f} MiB of its own {memory.slope * 3600 / _MIB:+.2f} MiB/h, {resident / _MIB:.0f} "
            f"MiB resident at the end, {descriptors.held:.0f} descriptors {descriptors.slope * 3600:+.1f}/h"
        )
        if self.seconds < SECONDS_TO_JUDGE_GROWTH:
            return what, f"{found} (too short to judge)", True
        return what, found, growth.fault() is None
