"""Qwen's PLE hash, token by token in plain integers: a second implementation that shares nothing with the package."""

MASK64 = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def splitmix64(value: int) -> int:
    value = (value + GAMMA) & MASK64
    value ^= value >> 30
    value = value * 0xBF58476D1CE4E5B9 & MASK64
    value ^= value >> 27
    value = value * 0x94D049BB133111EB & MASK64
    return value ^ (value >> 31)


def draw_multipliers(seed: int, ple_index: int, max_ngram: int, vocab_size: int) -> list[int]:
    half = max(1, (2**63 - 1) // vocab_size // 2)
    base = seed + 10007 * ple_index
    return [2 * (splitmix64((base + GAMMA * (i + 1)) & MASK64) % half) + 1 for i in range(max_ngram)]


def consecutive_primes(start: int, count: int) -> list[int]:
    primes: list[int] = []
    while len(primes) < count:
        if start > 1 and all(start % divisor for divisor in range(2, int(start**0.5) + 1)):
            primes.append(start)
        start += 1
    return primes


def hash_sequence(
    tokens: list[int],
    multipliers: list[int],
    primes: list[list[int]],
    eos: int,
    mask: list[bool] | None = None,
    documents: list[int] | None = None,
) -> list[list[int]]:
    """Return [position][column] of one whole sequence of raw ids, offsets included."""
    hidden = [
        (mask is not None and not mask[i]) or (documents is not None and documents[i] == 0) for i in range(len(tokens))
    ]
    tokens = [eos if hidden[i] else tokens[i] for i in range(len(tokens))]
    rows = []
    for position in range(len(tokens)):
        gram = [tokens[position]]
        stopped = False
        for back in range(1, len(multipliers)):
            source = position - back
            stopped = stopped or source < 0 or tokens[source] == eos
            stopped = stopped or (documents is not None and documents[source] != documents[position])
            gram.append(eos if stopped else tokens[source])
        rows.append(hash_gram(gram, multipliers, primes))
    return rows


def hash_gram(gram: list[int], multipliers: list[int], primes: list[list[int]]) -> list[int]:
    row, offset = [], 0
    for order in range(2, len(gram) + 1):
        mix = 0
        for token, multiplier in zip(gram[:order], multipliers[:order], strict=True):
            mix ^= token * multiplier
        for prime in primes[order - 2]:
            row.append(offset + mix % prime)
            offset += prime
    return row
