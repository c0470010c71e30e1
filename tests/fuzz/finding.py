"""What came of fuzzing a target, held against the bars."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from support.growth import Growth

TIME_LIMIT_SECONDS = 10.0
"""That one input may take. Most take a thousandth of a second; a machine that has much else to do takes longer."""
_MOST_SHOWN = 3
FEWEST_TO_JUDGE_GROWTH = 10_000
"""Inputs below which what a process holds is told, and not judged: it has not warmed up."""


@dataclass(kw_only=True)
class Finding:
    """One target: how many inputs, what came of them, and everything that must not have come of one."""

    target: str
    seed: int
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    growth: Growth = field(default_factory=Growth)
    kept_by_grpc: float = 0.0
    """Bytes an input that gRPC keeps without us."""
    outcomes_needed: tuple[str, ...] = ()
    """Each must have come of some input: a target that refuses everything is not fuzzed, nor one that takes it all."""

    def verdicts(self) -> list[str]:
        """Say each bar that was missed."""
        missed = [f"{fault}" for fault in self.faults[:_MOST_SHOWN]]
        if len(self.faults) > _MOST_SHOWN:
            missed.append(f"and {len(self.faults) - _MOST_SHOWN} more such inputs")
        if not self.inputs:
            missed.append("had no input")
        missed += [f"no input was {outcome}" for outcome in self.outcomes_needed if not self.outcomes[outcome]]
        if self.longest_seconds > TIME_LIMIT_SECONDS:
            missed.append(f"an input took {self.longest_seconds:.1f} s, above {TIME_LIMIT_SECONDS:g}")
        if (
            self.inputs >= FEWEST_TO_JUDGE_GROWTH
            and (grows := self.growth.fault(kept_by_others=self.kept_by_grpc)) is not None
        ):
            missed.append(grows)
        return missed

    def line(self) -> str:
        """Return the line of the table."""
        missed = self.verdicts()
        outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in self.outcomes.most_common(4))
        text = (
            f"{self.target:<14} {self.inputs:>9,} {self.longest_seconds * 1000:>8.1f} ms {self._grown():>28}  "
            f"{'met' if not missed else 'MISSED'}  {outcomes}"
        )
        return "\n".join((text, *(f"    {fault:.2000}" for fault in missed)))

    def _grown(self) -> str:
        if len(self.growth.samples) < 4:
            return "-"
        memory, descriptors = self.growth.memory, self.growth.descriptors
        others = f" ({self.kept_by_grpc:g} by gRPC)" if self.kept_by_grpc else ""
        return f"{memory.held / 2**20:.0f} MiB {memory.slope:+.1f} B/input{others}, {descriptors.held:.0f} fd"


HEADING = f"{'target':<14} {'inputs':>9} {'longest':>11} {'memory and descriptors':>28}  bars"
