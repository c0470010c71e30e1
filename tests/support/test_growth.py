"""What is called growth, and what is not."""

import os
import socket

import pytest
from support.growth import FEWEST_SAMPLES, Growth, Sample, num_sockets, sample

MIB = 1 << 20


def growth_of(bytes_at, descriptors_at=lambda _: 20, samples=30):
    return Growth([Sample(at, int(bytes_at(at)), int(bytes_at(at)), int(descriptors_at(at))) for at in range(samples)])


@pytest.mark.parametrize("bytes_at", [lambda _: 100 * MIB, lambda at: 100 * MIB + min(at, 8) * 10 * MIB])
def test_a_process_that_stays_as_it_is_after_its_warm_up_is_flat(bytes_at):
    assert growth_of(bytes_at).fault() is None


def test_memory_that_rises_to_the_end_is_growth():
    assert "memory grows: 19.0 MiB onto 110" in growth_of(lambda at: (100 + at) * MIB).fault()


def test_what_others_keep_is_no_growth_and_what_is_beyond_it_is():
    growth = growth_of(lambda at: (100 + at) * MIB)

    assert growth.fault(kept_by_others=MIB) is None
    assert "memory grows" in growth.fault(kept_by_others=MIB / 2)


def test_descriptors_that_rise_to_the_end_are_growth():
    assert "descriptors grow" in growth_of(lambda _: MIB, lambda at: 20 + at).fault()


def test_too_few_samples_tell_nothing():
    assert "too few" in growth_of(lambda _: MIB, samples=FEWEST_SAMPLES - 1).fault()


def test_this_process_has_memory_and_descriptors():
    growth = Growth()
    growth.look(os.getpid(), 0)

    assert growth.samples[0].own_bytes > MIB
    assert growth.samples[0].descriptors >= 3


def test_sockets_are_told_from_other_descriptors():
    process = os.getpid()
    before, others = num_sockets(process), sample(process, 0, with_sockets=False).descriptors

    with socket.socket(), socket.socket():
        assert num_sockets(process) == before + 2
        assert sample(process, 0, with_sockets=False).descriptors == others
