"""What callers say that they know, as a node reads it."""

import pytest

from engram_store.caller_knowledge import KNOWS, known_by


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, set()),
        ((("user-agent", "overloaded"),), set()),
        ((("engram-knows", "overloaded"),), {"overloaded"}),
        ((("engram-knows", "a,overloaded , b"), ("engram-knows", "c")), {"a", "b", "c", "overloaded"}),
        (KNOWS, {"overloaded", "reads-nothing"}),
    ],
)
def test_words_are_read_whoever_put_them_together(metadata, words):
    assert known_by(metadata) == words
