"""What users import: every public name says what it gives, and the package its version."""

import importlib.metadata

import pytest

import engram_client
from engram_client import errors


def test_the_package_tells_the_version_that_is_installed():
    assert engram_client.__version__ == importlib.metadata.version("engram-store")
    with pytest.raises(AttributeError, match="no attribute 'fetch'"):
        engram_client.fetch  # noqa: B018


def test_every_error_can_be_imported_from_the_package():
    leaves = {name for name, value in vars(errors).items() if isinstance(value, type)}

    assert leaves <= set(engram_client.__all__)


@pytest.mark.parametrize("name", ["connect", "connect_blocking", "Store", "Table", "BlockingStore", "BlockingTable"])
def test_what_people_begin_with_shows_an_example(name):
    assert "Example::" in getattr(engram_client, name).__doc__


def test_every_public_thing_and_all_it_can_do_is_described():
    things = {name: getattr(engram_client, name) for name in engram_client.__all__}
    methods = {
        f"{name}.{method}": value
        for name, thing in things.items()
        if isinstance(thing, type)
        for method, value in vars(thing).items()
        if not method.startswith("_") and (callable(value) or isinstance(value, property))
    }

    assert [name for name, thing in {**things, **methods}.items() if not thing.__doc__] == []
