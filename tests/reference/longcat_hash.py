"""LongCat's n-gram hash, token by token in plain integers: shares nothing with the package."""


def hash_sequence(
    tokens: list[int],
    *,
    vocab_size: int,
    eos: int,
    max_ngram: int,
    heads: int,
    base_rows: int,
    mask: list[bool] | None = None,
    documents: list[int] | None = None,
) -> list[list[int]]:
    """Return [position][column] of one whole sequence of raw ids, offsets included."""
    ignored = [
        token < 0 or (mask is not None and not mask[i]) or (documents is not None and documents[i] == 0)
        for i, token in enumerate(tokens)
    ]
    rows = []
    for position in range(len(tokens)):
        gram: list[int] = []  # newest first, as far as can be seen
        for source in range(position, max(-1, position - max_ngram), -1):
            if ignored[source] or (source < position and tokens[source] == eos):
                break
            if documents is not None and documents[source] != documents[position]:
                break
            gram.append(tokens[source])
        row, offset = [], 0
        for order in range(2, max_ngram + 1):
            for head in range(heads):
                modulus = base_rows + 2 * ((order - 2) * heads + head) + 1
                total = sum(token * (vocab_size**j % modulus) % modulus for j, token in enumerate(gram[:order]))
                row.append(offset + total % modulus)
                offset += modulus
        rows.append(row)
    return rows
