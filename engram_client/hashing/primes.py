"""Prime table sizes: every head of every order and layer hashes into a prime number of rows of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Miller-Rabin with the first twelve primes as witnesses decides every number below 3.18e23 without error
# (Sorenson and Webster, "Strong pseudoprimes to twelve prime bases", 2015).
WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def head_primes(layer_ids: Sequence[int], vocab_sizes: Sequence[int], heads: int) -> dict[int, NDArray[np.int64]]:
    """Return the table sizes of every head, int64 (orders, heads) per layer id.

    Layers are served in the order given, then orders, then heads; each takes the smallest prime that is not below the
    order's nominal size, lies above the previous head's, and belongs to no other head of the model (ENGRAM: the
    `find_next_prime` loop of DeepSeek's demonstration program).
    """
    taken: set[int] = set()
    begins: dict[int, int] = {}  # by nominal size: from there on the next order looks, all below are taken
    sizes = {}
    for layer in layer_ids:
        sizes[layer] = np.array(
            [_order_primes(nominal, heads, taken, begins) for nominal in vocab_sizes], dtype=np.int64
        )
        sizes[layer].setflags(write=False)
    return sizes


def _order_primes(nominal: int, heads: int, taken: set[int], begins: dict[int, int]) -> list[int]:
    """Take the primes of one order's heads, adding them to `taken`."""
    primes: list[int] = []
    candidate = begins.get(nominal, nominal)
    while len(primes) < heads:
        if candidate not in taken and is_prime(candidate):
            primes.append(candidate)
            taken.add(candidate)
        candidate += 1
    begins[nominal] = candidate
    return primes


def is_prime(number: int) -> bool:
    """Tell whether a number below 3.18e23 is prime; deterministic."""
    if number < 2:
        return False
    for prime in WITNESSES:
        if number % prime == 0:
            return number == prime
    twos = ((number - 1) & (1 - number)).bit_length() - 1
    odd = (number - 1) >> twos
    return all(_is_probable_prime(number, witness, twos, odd) for witness in WITNESSES)


def _is_probable_prime(number: int, witness: int, twos: int, odd: int) -> bool:
    """One strong probable-prime test, with number - 1 = odd * 2**twos."""
    power = pow(witness, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
