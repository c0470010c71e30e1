"""The bar of what has not begun yet."""

import pytest

from store_server.commands.progress import progress_bar_when_it_begins


def test_there_is_no_bar_of_what_never_began(capsys):
    with pytest.raises(ValueError, match="bad"), progress_bar_when_it_begins("emptying"):
        raise ValueError("bad")

    assert capsys.readouterr().err == ""


def test_a_bar_shows_how_much_is_done_of_all_there_is(capsys):
    with progress_bar_when_it_begins("emptying") as progress:
        for done in (0, 30, 100):
            progress(done, 100)

    assert "emptying" in (shown := capsys.readouterr().err)
    assert "100/100 bytes" in shown
