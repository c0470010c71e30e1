from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_server.storage import InvalidTableName, check_table_name
from store_server.storage.names import directory_of, name_of

PARTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
NAMES = st.lists(PARTS, min_size=1, max_size=8).map("/".join)


@pytest.mark.parametrize("name", ["a", "v41-flash/layer-1", "A.b_c-d/0/x", "1", "a..b", "x" * 200])
def test_ordinary_names_are_allowed(name: str) -> None:
    assert check_table_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "..", ".", "/etc", "a/../b", "a/..", "../a", "a//b", "a/", "a b", "a\0b", "a@b", "a\n", "-a", ".a", "é",
        "a\\b", "x" * 201, "x" * 300, "/".join(["ab"] * 100),
    ],
)  # fmt: skip
def test_other_names_are_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(InvalidTableName) as caught:
        check_table_name(name)

    assert caught.value.name == name
    assert repr(name)[:100] in str(caught.value)
    assert "at most 200 characters" in str(caught.value)


@given(NAMES)
def test_a_name_is_found_again_from_its_directory(name: str) -> None:
    directory = directory_of(name)

    assert "/" not in directory
    assert name_of(directory) == name


@given(st.text(max_size=30))
def test_a_directory_that_belongs_to_no_table_has_no_name(directory: str) -> None:
    name = name_of(directory)

    assert name is None or check_table_name(name) == name
