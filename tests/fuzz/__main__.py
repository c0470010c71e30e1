"""`python -m fuzz [TARGET ...]`: hostile inputs for whatever reads what others wrote, and a line for each target.

The exit status is 1 if one of the bars was missed: an input with a wrong outcome, a process that died, hung or grew, a
target without inputs, a file touched that is not theirs. An input is decided by its seed, target and number alone:
`--seed N --first NUMBER --inputs 1 TARGET` makes one of a reader again.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from fuzz.finding import HEADING, Finding
from fuzz.in_child import run_in_child
from fuzz.target import Target
from fuzz.targets import TARGETS
from fuzz.wire.run import WIRE_TARGETS, run_over_the_wire

_NAMES = tuple(target.name for target in (*TARGETS, *WIRE_TARGETS))


def main() -> int:
    asked = _arguments()
    began, findings = time.monotonic(), []
    print(f"seed {asked.seed}\n{HEADING}")
    for finding in fuzzed(
        asked.names or _NAMES, inputs=asked.inputs, seed=asked.seed, first=asked.first, at_once=asked.at_once
    ):
        findings.append(finding)
        print(finding.line(), flush=True)
    inputs, missed = sum(each.inputs for each in findings), sum(bool(each.verdicts()) for each in findings)
    verdict = (
        f"{missed} of {len(findings)} targets missed a bar" if missed else f"all {len(findings)} targets met every bar"
    )
    print(f"{inputs:,} inputs in {time.monotonic() - began:.0f} s: {verdict}")
    return 1 if missed else 0


def fuzzed(names: Sequence[str], *, inputs: int, seed: int, first: int = 0, at_once: int = 1) -> Iterator[Finding]:
    """Divide so many inputs among targets by their shares, and yield what came of each, `at_once` of them at a time."""
    shares = {target.name: target.share for target in (*TARGETS, *WIRE_TARGETS) if target.name in names}
    numbers = {name: max(1, inputs * share // sum(shares.values())) for name, share in shares.items()}
    over_the_wire = [(target, numbers[target.name]) for target in WIRE_TARGETS if target.name in numbers]
    with ThreadPoolExecutor(at_once) as pool:  # that wait for processes, but for one that is the node's clients
        runs = [pool.submit(run_over_the_wire, over_the_wire, seed=seed, first=first)] if over_the_wire else []
        runs += [
            pool.submit(_in_child, target, numbers[target.name], seed, first)
            for target in TARGETS
            if target.name in numbers
        ]
        for run in as_completed(runs):
            yield from run.result()


def _in_child(target: Target, inputs: int, seed: int, first: int) -> list[Finding]:
    return [run_in_child(target, inputs=inputs, seed=seed, first=first)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.partition("\n")[0])
    says = "; ".join(f"{target.name}: {target.says}" for target in (*TARGETS, *WIRE_TARGETS))
    parser.add_argument("names", nargs="*", choices=[*_NAMES, []], metavar="TARGET", help=f"{says} (default: all)")
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="in all, divided by shares (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides every input (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each (default: %(default)s)")
    parser.add_argument(
        "--at-once", type=int, default=os.cpu_count() or 1, help="targets at a time (default: %(default)s, the cores)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
