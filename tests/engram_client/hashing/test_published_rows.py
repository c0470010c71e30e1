"""Rows that the published programs look up, as plain numbers: what no mistake shared by two implementations can move.

The token maps here leave ids as they are, so the ids are compressed ones.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engram_client.hashing import HashSpec, NgramHasher

DEMO = HashSpec(layer_ids=(1, 15), max_ngram=3, heads=8, vocab_sizes=(646_400, 646_400), pad_id=2)
SMALL = HashSpec(layer_ids=(0, 2, 5), max_ngram=4, heads=4, vocab_sizes=(1000, 2000, 500), pad_id=0, seed=7)
# Heads of about a hundred rows, in the form of DeepSeek-V4.1: tokens that take no part, packed documents.
TINY = HashSpec(layer_ids=(0, 2, 5), max_ngram=4, heads=4, vocab_sizes=(98, 98, 98), pad_id=2)


def identity(size: int) -> NDArray[np.int64]:
    return np.arange(size)


def test_the_demonstration_program_reads_these_rows_of_deepseek_v3() -> None:
    hasher = NgramHasher(DEMO, identity(98_627))

    rows = hasher.rows([[14_609, 51_554, 83_499]], 15)

    # fmt: off
    assert rows[0].tolist() == [
        [284426, 890603, 1534159, 2405993, 2963079, 3322694, 3930691, 4734007,
         5250435, 5904341, 7113126, 7696697, 8232143, 9049900, 9469481, 10320354],
        [344836, 779710, 1792048, 2023445, 2974174, 3687297, 4348861, 4706127,
         5749930, 5914484, 6546808, 7262888, 8174136, 8887908, 9454305, 10013699],
        [92049, 952233, 1599782, 2367850, 2614320, 3332088, 4502490, 5030143,
         5622674, 6408655, 6883077, 7458470, 8036084, 8572958, 9626599, 10195243],
    ]
    # fmt: on


def test_the_demonstration_program_reads_these_rows_with_three_orders_a_seed_and_a_negative_id() -> None:
    hasher = NgramHasher(SMALL, identity(477))

    rows = hasher.rows([[334, 214, 281, -1, 425]], 2)

    assert rows[0].tolist() == [
        [19, 1338, 2209, 3694, 4170, 7313, 8757, 10965, 12813, 13327, 13464, 14403],
        [1025, 2052, 3038, 3832, 5272, 8204, 9962, 10332, 12742, 13277, 13493, 14198],
        [1023, 2054, 2924, 3634, 5192, 8179, 10219, 10933, 12489, 13079, 13650, 14088],
        [670, 1835, 2584, 3674, 4294, 6324, 8624, 10900, 12677, 13346, 13700, 14259],
        [501, 1886, 2275, 3320, 5365, 8009, 9687, 10750, 12866, 13117, 13544, 14490],
    ]


IDS = [387, 141, 37, 165, 40, 7, 255, 58]
PACKED_IDS = [2, 2, 2, 2, 371, 447, 238, 114]


@pytest.mark.parametrize(
    ("ids", "packing", "expected"),
    [
        (
            IDS,
            {},
            [
                [72, 206, 332, 508, 832, 1038, 1195, 1376, 1464, 1664, 1907, 2101],
                [53, 280, 480, 626, 762, 892, 1218, 1250, 1453, 1770, 1860, 2113],
                [117, 269, 400, 563, 717, 1009, 1141, 1436, 1484, 1811, 2001, 2214],
                [30, 295, 494, 637, 851, 990, 1179, 1406, 1502, 1799, 1983, 2207],
            ],
        ),
        (
            IDS,
            {"mask": [[True, True, True, True, True, False, True, True]]},
            [
                [72, 206, 332, 508, 832, 1038, 1195, 1376, 1464, 1664, 1907, 2101],
                [80, 194, 407, 607, 773, 913, 1230, 1300, 1613, 1831, 1940, 2256],
                [35, 328, 343, 538, 800, 1041, 1221, 1253, 1497, 1742, 1892, 2236],
                [30, 295, 494, 637, 857, 975, 1176, 1354, 1609, 1745, 1864, 2146],
            ],
        ),
        (
            PACKED_IDS,
            {"sequence_ids": [[1, 1, 1, 1, 2, 2, 2, 2]]},
            [
                [9, 167, 487, 541, 690, 1048, 1211, 1303, 1468, 1804, 2031, 2188],
                [19, 174, 420, 648, 690, 958, 1068, 1278, 1527, 1829, 1953, 2153],
                [31, 306, 381, 519, 738, 1049, 1078, 1398, 1601, 1762, 1904, 2267],
                [133, 211, 334, 605, 697, 1040, 1129, 1376, 1551, 1755, 1958, 2290],
            ],
        ),
    ],
    ids=["plain", "masked", "packed"],
)
def test_the_form_of_deepseek_v41_reads_these_rows(
    ids: list[int], packing: dict[str, list[list[int]]], expected: list[list[int]]
) -> None:
    rows = NgramHasher(TINY, identity(477)).rows([ids], 2, **packing)

    assert rows[0, 4:].tolist() == expected


def test_the_form_of_deepseek_v41_has_these_multipliers_and_primes() -> None:
    hasher = NgramHasher(TINY, identity(477))

    assert hasher.num_rows == {0: 1524, 2: 2304, 5: 3094}
    assert hasher.multipliers[2].tolist() == [15893664969670413, 7706699621126027, 4704768823862471, 14837739414889793]
    assert hasher.primes[2].tolist() == [[163, 167, 173, 179], [181, 191, 193, 197], [199, 211, 223, 227]]
