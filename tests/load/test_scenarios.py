"""Each scenario's short form."""

import pytest
from load.scenarios import SCENARIOS, run_scenario, served_root, what_went_wrong

SECONDS = 0.5
UNDISTURBED = [name for name in SCENARIOS if name != "restart"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with served_root(tmp_path_factory.mktemp("load")) as root:
        yield root


@pytest.mark.parametrize("name", UNDISTURBED)
def test_every_fetch_that_was_due_brings_the_right_rows(name, root):
    measured, _ = run_scenario(SCENARIOS[name], root, seconds=SECONDS)

    assert what_went_wrong(measured) is None


def test_a_node_that_is_killed_and_comes_back_costs_time_but_no_fetch_and_no_right_row(root):
    measured, beside = run_scenario(SCENARIOS["restart"], root, seconds=SECONDS)

    assert what_went_wrong(measured) is None
    assert beside.restarts == 1
    assert measured.tally.latencies.most > beside.seconds_down / 2
