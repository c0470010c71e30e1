"""A token goes with every call to those it is meant for, and nowhere else; who refuses it is not asked again."""

import time

import numpy as np
import pytest
from support.certificates import replace
from support.fake_node import FakeNode
from support.rows import random_rows

import engram_client
from engram_client import errors

SECRET, OTHER = "a-token-nobody-may-see", "another-token"
ROWS = random_rows(100, 8)


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    return file


async def test_every_call_bears_the_token(token_file):
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url, token_file=token_file) as store:
        await store.tables()
        await (await store.table("t")).fetch([1])

    assert node.authorizations == [f"Bearer {SECRET}"] * 3


@pytest.mark.parametrize("token", [SECRET, None])
async def test_every_call_says_what_its_caller_knows_with_a_token_and_without(token):
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url, token=token) as store:
        await store.tables()
        await (await store.table("t")).fetch([1])

    assert node.known == [{"overloaded", "reads-nothing"}] * 3


async def test_without_a_token_none_is_sent():
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url) as store:
        await store.tables()

    assert node.authorizations == [""]


@pytest.mark.parametrize("given", [{}, {"token": "wrong"}])
async def test_a_missing_or_wrong_token_fails_at_once(given):
    node = FakeNode(ROWS)
    node.tokens = {SECRET}
    began = time.monotonic()
    async with node.listening() as url, engram_client.connect(url, timeout=30, **given) as store:
        with pytest.raises(errors.Unauthenticated, match="no token that is known here") as caught:
            await store.table("t")

    assert isinstance(caught.value, PermissionError)
    assert time.monotonic() - began < 10
    assert len(node.authorizations) == 1


async def test_a_stream_that_refuses_the_token_fails_at_once():
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url, timeout=30, token=SECRET) as store:
        table = await store.table("t")
        node.tokens = {OTHER}
        with pytest.raises(errors.Unauthenticated) as caught:
            await table.fetch([1])

    assert SECRET not in str(caught.value)
    assert len(node.authorizations) == 2


async def test_a_call_that_an_old_token_fails_is_made_again_with_the_new_one(token_file):
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url, token_file=token_file) as store:
        table = await store.table("t")
        node.tokens = {OTHER}
        replace(token_file, OTHER.encode())

        assert np.array_equal(await table.fetch([1, 2]), ROWS[[1, 2]])
        await store.tables()

    assert node.authorizations[-3:] == [f"Bearer {SECRET}", f"Bearer {OTHER}", f"Bearer {OTHER}"]


async def test_a_token_that_was_replaced_by_another_wrong_one_fails_at_once(token_file):
    node = FakeNode(ROWS)
    async with node.listening() as url, engram_client.connect(url, timeout=30, token_file=token_file) as store:
        table = await store.table("t")
        node.tokens = {"a third"}
        replace(token_file, OTHER.encode())

        with pytest.raises(errors.Unauthenticated):
            await table.fetch([1])

    assert len(node.authorizations) == 3


async def test_a_refusal_is_understood():
    node = FakeNode(ROWS)
    node.denies = True
    async with node.listening() as url, engram_client.connect(url, timeout=30) as store:
        with pytest.raises(errors.PermissionDenied, match="not for you") as caught:
            await store.table("t")

    assert isinstance(caught.value, PermissionError)


def test_the_blocking_store_takes_the_same(token_file):
    with pytest.raises(ValueError, match="give token or token_file, not both"):
        engram_client.connect_blocking("grpc://127.0.0.1:1", token=SECRET, token_file=token_file)
