"""Tokens and their hashes: what is kept, what is recognised, and what is never printed."""

from engram_store.credential_files import why_no_token
from store_server.access.redaction import MASK, masked
from store_server.access.token import SecretHash, Token


def test_a_token_is_read_back_as_it_was_made():
    token = Token.new()

    assert Token.parse(token.text()) == token


def test_no_two_tokens_and_no_two_hashes_of_one_are_alike():
    token = Token.new()

    assert Token.new() != token
    assert SecretHash.of(token.secret) != SecretHash.of(token.secret)


def test_a_hash_is_that_of_its_secret_alone_also_after_it_was_kept():
    token, other = Token.new(), Token.new()
    kept = SecretHash.parse(SecretHash.of(token.secret).text())

    assert kept.is_of(token.secret)
    assert not kept.is_of(other.secret)
    assert not kept.is_of("")


def test_a_text_that_is_not_wholly_a_token_is_none():
    text = Token.new().text()

    for wrong in ("", text[:-1], text + "a", text.upper(), f" {text}", text.replace("engram", "other"), text + "\n"):
        assert Token.parse(wrong) is None


def test_clients_send_a_token_only_whole():
    text = Token.new().text()

    assert why_no_token(text) is None
    for cut in (text[:-1], text[:20], "engram_", text + text):
        assert f"has 72 characters, and this one {len(cut)}: was it cut?" in why_no_token(cut)
    assert why_no_token("one-of-a-proxy") is None


def test_a_token_that_is_printed_shows_no_secret():
    token = Token.new()

    assert token.secret not in f"{token} {token!r}"
    assert token.secret not in SecretHash.of(token.secret).text()


def test_a_token_is_masked_wherever_it_stands_and_however_it_was_cut():
    token = Token.new()
    text = token.text()

    for line in (text, f"error='got {text!r}'", f'{{"x": "{text}"}}', f"a{text}b", text.upper(), text[:40]):
        assert masked(line).lower().count(token.secret[:8]) == 0
        assert token.id in masked(line).lower()
    assert masked(f"x={text}, y") == f"x=engram_{token.id}_{MASK}, y"


def test_what_follows_bearer_is_masked():
    assert masked("authorization: Bearer abc.def-123== end") == f"authorization: Bearer {MASK} end"
    assert masked("('authorization', 'bearer  s3cret')") == f"('authorization', 'bearer  {MASK}')"


def test_names_of_metrics_and_ordinary_words_are_left_alone():
    text = "engram_credentials_reload_failures_total engram_in_flight_bytes the bearer, a token engram_store.v1"

    assert masked(text) == text
