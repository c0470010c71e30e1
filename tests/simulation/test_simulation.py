"""The simulation in short: some seeds hold, the same one runs the same way again, and each planted bug is found."""

from dataclasses import replace

import pytest
from simulation.planted import PLANTS
from simulation.run import run
from simulation.scenario import scenario_of

SEEDS = range(40)
PLACED_SEEDS = range(8)
MOST_SEEDS_FOR_A_PLANT = 80


@pytest.mark.parametrize("first", SEEDS[::10])
def test_no_seed_violates_an_invariant(first):
    for seed in range(first, first + 10):
        outcome = run(scenario_of(seed, 3, 12))

        assert outcome.violations == [], f"seed {seed}"
        assert outcome.counts["fetches"] > 10


@pytest.mark.parametrize("first", PLACED_SEEDS[::4])
def test_no_placed_cluster_violates_an_invariant(first):
    for seed in range(first, first + 4):
        outcome = run(scenario_of(seed, 3, 6, is_placed=True))

        assert outcome.violations == [], f"seed {seed}"
        assert outcome.counts["moves"] > 0


def test_placement_of_many_nodes_violates_no_invariant():
    outcome = run(scenario_of(0, 150, 150))

    assert outcome.violations == []
    assert outcome.counts["moves"] > 0


def test_what_is_simulated_includes_hedges_late_replies_and_changes_of_the_map():
    counts = [run(scenario_of(seed, 3, 6)).counts for seed in range(8)]

    for what in ("hedges", "late_replies"):
        assert any(each[what] for each in counts)
    assert any(each["maps"] > 3 for each in counts)


def test_a_seed_runs_the_same_way_again():
    first, second = (run(scenario_of(7, 3, 12)).lines for _ in range(2))

    assert len(first) > 100
    assert first == second


@pytest.mark.parametrize("name", [name for name, plant in PLANTS.items() if not plant.is_of_placement])
def test_a_planted_bug_is_found_and_found_again(name):
    scenarios = (replace(scenario_of(seed, 3, 5), seconds_between_faults=0.5) for seed in range(MOST_SEEDS_FOR_A_PLANT))
    scenario = next(scenario for scenario in scenarios if run(scenario, PLANTS[name]).violations)

    found, again = run(scenario, PLANTS[name]), run(scenario, PLANTS[name])

    assert found.violations
    assert found.lines == again.lines
    assert run(scenario).violations == []


# The others take minutes to be found.
@pytest.mark.parametrize("name", ["leaves-early", "switches-early", "switches-alone", "fills-full-disks"])
def test_a_bug_planted_in_the_placement_is_found_and_found_again(name):
    scenarios = (scenario_of(seed, 3, 5, is_placed=True) for seed in range(MOST_SEEDS_FOR_A_PLANT))
    scenario = next(scenario for scenario in scenarios if run(scenario, PLANTS[name]).violations)

    assert run(scenario, PLANTS[name]).lines == run(scenario, PLANTS[name]).lines
    assert run(scenario).violations == []
