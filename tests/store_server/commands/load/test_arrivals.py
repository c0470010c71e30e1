"""When fetches are due."""

import itertools

import numpy as np
import pytest

from store_server.commands.load.arrivals import Arrivals, Spacing


def due(count, seed=0, **how):
    return np.array(list(itertools.islice(Arrivals(**how).times(seed), count)))


def test_constant_arrivals_are_evenly_spaced():
    np.testing.assert_allclose(due(5, rate=10, spacing=Spacing.constant), [0, 0.1, 0.2, 0.3, 0.4])


def test_poisson_arrivals_have_exponential_gaps_of_the_mean_asked_for():
    gaps = np.diff(due(50_000, rate=200))

    assert gaps.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.03)
    assert np.mean(gaps > 1 / 200) == pytest.approx(np.exp(-1), rel=0.03)


@pytest.mark.parametrize("spacing", Spacing)
def test_bursts_keep_the_rate(spacing):
    times = due(40_000, rate=1000, spacing=spacing, burst=8)

    assert (times.reshape(-1, 8) == times[::8, None]).all()
    assert times[-1] == pytest.approx(40, rel=0.05)


@pytest.mark.parametrize("spacing", Spacing)
def test_the_shares_of_all_processes_make_the_whole(spacing):
    parts = [due(10_000, seed=share, rate=300, spacing=spacing, share=share, shares=3) for share in range(3)]

    together = np.sort(np.concatenate(parts))
    assert together[20_000] == pytest.approx(20_000 / 300, rel=0.05)
    if spacing is Spacing.constant:
        np.testing.assert_allclose(together, np.arange(30_000) / 300)


def test_other_seeds_are_due_at_other_times():
    assert (due(10, seed=(1, 2), rate=1) != due(10, seed=(1, 3), rate=1)).all()
