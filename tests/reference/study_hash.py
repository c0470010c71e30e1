"""The study implementation's hash, token by token in plain integers: shares nothing with the package."""


def first_prime(start: int) -> int:
    while start < 2 or any(start % divisor == 0 for divisor in range(2, int(start**0.5) + 1)):
        start += 1
    return start


def hash_sequence(
    tokens: list[int],
    *,
    min_ngram: int,
    max_ngram: int,
    heads: int,
    table_size: int,
    mask: list[bool] | None = None,
    documents: list[int] | None = None,
) -> list[dict[int, list[int]]]:
    """Return [position][order][head] of one whole sequence of compressed ids: indices into each head's own table."""
    bases = [first_prime(100 * head + 31) for head in range(heads)]
    moduli = [first_prime(table_size + 1000 * head) for head in range(heads)]
    indices = []
    for position in range(len(tokens)):
        of_token = {}
        for order in range(min_ngram, max_ngram + 1):
            oldest_first = look_back(tokens, position, order, mask, documents)
            of_token[order] = [
                sum(token * base**i for i, token in enumerate(oldest_first)) % modulus % table_size
                for base, modulus in zip(bases, moduli, strict=True)
            ]
        indices.append(of_token)
    return indices


def look_back(
    tokens: list[int], position: int, order: int, mask: list[bool] | None, documents: list[int] | None
) -> list[int]:
    seen: list[int] = []
    blocked = False
    for source in range(position, position - order, -1):
        blocked = blocked or source < 0 or (mask is not None and not mask[source])
        blocked = blocked or (
            documents is not None and (documents[source] == 0 or documents[source] != documents[position])
        )
        seen.insert(0, 0 if blocked else tokens[source])
    return seen
