"""A flipped bit with real nodes, found quickly."""

from chaos.flipped_bit import flip_a_bit


def test_a_flipped_bit_is_found_never_served_once_found_and_repaired_from_the_other_replica(tmp_path):
    found = flip_a_bit(tmp_path, scrub_rate="100MiB")

    assert found.is_right
    assert found.served_wrong_before_found > 0
    assert found.refused > 0
