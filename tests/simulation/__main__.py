"""`python -m simulation`: many seeds on all cores, or one of them once more with all that happened in it."""

import argparse
import gc
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from simulation.planted import NOTHING_PLANTED, PLANTS
from simulation.run import Outcome, run
from simulation.scenario import Scenario, scenario_of

_SEEDS_AT_ONCE = 20


def main() -> int:
    asked = _arguments()
    if asked.seed is not None:
        return _replay(asked)
    print(f"{asked.seeds} seeds of {asked.nodes[0]} to {asked.nodes[1]} nodes, planted: {asked.plant or 'nothing'}")
    began, counts, found = time.monotonic(), Counter[str](), 0
    first_seeds = range(asked.first, asked.first + asked.seeds)
    with ProcessPoolExecutor(asked.processes, initializer=_prepare) as pool:
        simulate = partial(judge, nodes=asked.nodes, plant=asked.plant)
        chunk = 1 if asked.plant else max(1, min(_SEEDS_AT_ONCE, asked.seeds // (4 * asked.processes)))
        for outcome in pool.map(simulate, first_seeds, chunksize=chunk):
            counts.update(outcome.counts)
            if outcome.violations:
                found += 1
                _report(outcome, asked)
                if asked.plant or found >= asked.most:
                    pool.shutdown(cancel_futures=True)
                    break
    seconds = time.monotonic() - began
    print(
        f"{found} seeds violate an invariant; {seconds:.1f} s; {', '.join(f'{n} {what}' for what, n in counts.items())}"
    )
    is_as_wished = bool(found) == bool(asked.plant)
    return 0 if is_as_wished else 1


def judge(seed: int, nodes: tuple[int, int], plant: str | None) -> Outcome:
    """Run one seed; its log stays behind."""
    outcome = run(_scenario(seed, nodes, plant), PLANTS[plant] if plant else NOTHING_PLANTED)
    outcome.lines = []
    gc.collect()
    return outcome


def _scenario(seed: int, nodes: tuple[int, int], plant: str | None) -> Scenario:
    is_of_placement = plant is not None and PLANTS[plant].is_of_placement
    return scenario_of(seed, *nodes, is_placed=True if is_of_placement else None)


def _prepare() -> None:
    """Collect garbage between seeds, and not what every seed needs."""
    gc.disable()
    gc.freeze()


def _replay(asked: argparse.Namespace) -> int:
    scenario = _scenario(asked.seed, asked.nodes, asked.plant)
    outcome = run(scenario, PLANTS[asked.plant] if asked.plant else NOTHING_PLANTED)
    print(scenario)
    print("\n".join(outcome.lines))
    print(f"log {outcome.digest}; {len(outcome.violations)} violations")
    for violation in outcome.violations:
        print(f"  {violation}")
    return bool(outcome.violations) != bool(asked.plant)


def _report(outcome: Outcome, asked: argparse.Namespace) -> None:
    print(f"seed {outcome.seed}: {outcome.violations[0]} ({len(outcome.violations)} in all)")
    plant = f" --plant {asked.plant}" if asked.plant else ""
    nodes = f"{asked.nodes[0]}-{asked.nodes[1]}"
    print(f"  again: python -m simulation --seed {outcome.seed} --nodes {nodes}{plant}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--nodes", type=_range, default=(3, 12), metavar="N or N-M", help="of a cluster (default 3-12)")
    parser.add_argument("--seed", type=int, help="one alone, and print all that happens; give the same --nodes")
    parser.add_argument(
        "--plant", choices=PLANTS, help="; ".join(f"{name}: {each.what}" for name, each in PLANTS.items())
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="(default one a core)")
    parser.add_argument("--most", type=int, default=20, help="violating seeds after which to stop (default 20)")
    return parser.parse_args()


def _range(text: str) -> tuple[int, int]:
    fewest, _, most = text.partition("-")
    numbers = int(fewest), int(most or fewest)
    if not 3 <= numbers[0] <= numbers[1]:
        raise argparse.ArgumentTypeError(f"nodes must be N or N-M with 3 <= N <= M, got {text}")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
