"""A name that nobody has: what it may have been meant to be."""

import numpy as np
import pytest
from support.array_transport import ArrayTransport

from engram_client import errors
from engram_client.near_names import instead_of
from engram_client.store import Store

LAYERS = [f"v41-flash/layer-{number}" for number in range(12)]


@pytest.mark.parametrize(
    ("name", "there", "said"),
    [
        ("v41-flash/layer1", ["v41-flash/layer-1"], "did you mean 'v41-flash/layer-1'?"),
        ("dmeo/a", ["other", "demo/a", "demo/b"], "did you mean 'demo/a' or 'demo/b'?"),
        ("qwen", ["v41-flash/layer-1"], "there is 'v41-flash/layer-1'"),
        ("qwen", ["a", "b"], "there is 'a', 'b'"),
        ("qwen", [], "there is none that you may read"),
    ],
)
def test_names_that_are_like_it_are_told_or_else_those_that_there_are(name, there, said):
    assert instead_of(name, there) == said


def test_few_of_many_names_are_told():
    assert instead_of("qwen", LAYERS).endswith("'v41-flash/layer-9' and 2 more")
    assert instead_of("v41-flash/layer", LAYERS).count("layer-") == 3


class Unlisted(ArrayTransport):
    """One that does not say what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = []

    async def list_tables(self, timeout):
        self.limits.append(timeout)
        raise errors.Unavailable("it hangs up")


async def test_the_names_are_asked_for_within_the_time_limit_and_told():
    transport = ArrayTransport()
    transport.publish("demo/a", np.zeros((2, 16), np.uint8))

    with pytest.raises(errors.TableNotFound, match=r"demo/b; did you mean 'demo/a'\?"):
        await Store(transport, 5.0).table("demo/b")


@pytest.mark.parametrize(("timeout", "longest"), [(60.0, 1.0), (0.5, 0.5)])
async def test_where_the_names_cannot_be_had_the_table_is_missing_all_the_same(timeout, longest):
    transport = Unlisted()

    with pytest.raises(errors.TableNotFound, match=r"^demo/b$"):
        await Store(transport, 5.0).table("demo/b", timeout=timeout)

    assert len(transport.limits) == 1
    assert 0 < transport.limits[0] <= longest
