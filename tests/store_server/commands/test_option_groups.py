"""A command whose options come in groups."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from store_server.commands.option_groups import OptionGroup, takes_groups


@dataclass(frozen=True, kw_only=True)
class Colour(OptionGroup):
    hue: Annotated[int, typer.Option(min=0, rich_help_panel="Colour", help="Of the wheel.")] = 7
    bright: Annotated[bool, typer.Option("--bright")] = False


@dataclass(frozen=True, kw_only=True)
class Sizes(OptionGroup):
    size: Annotated[list[int] | None, typer.Option()] = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    path: Annotated[str, typer.Argument()]
    colour: Colour
    sizes: Sizes


def run(*arguments):
    seen = []

    def draw(context: typer.Context, picture: Picture, loud: Annotated[bool, typer.Option()] = False) -> None:
        """Draw it."""
        seen.extend((picture, loud))
        assert context.info_name == "draw"

    app = typer.Typer(rich_markup_mode=None)
    app.command()(takes_groups(draw))
    return CliRunner().invoke(app, arguments), seen


def test_the_fields_of_groups_and_of_groups_in_them_are_options():
    _, seen = run("a.png", "--hue", "3", "--size", "1", "--size", "2", "--loud")

    colour = Colour(hue=3, given=frozenset({"hue"}))
    assert seen == [Picture(path="a.png", colour=colour, sizes=Sizes(size=[1, 2], given=frozenset({"size"}))), True]


def test_what_nobody_sets_is_as_the_group_has_it():
    assert run("a.png")[1] == [Picture(path="a.png", colour=Colour(), sizes=Sizes()), False]


def test_the_help_is_that_of_the_fields():
    shown, _ = run("--help")

    assert "Draw it." in shown.output
    assert "Of the wheel.  [default: 7; x>=0]" in shown.output
    assert "--given" not in shown.output


def test_a_group_knows_which_options_were_given_be_it_to_their_defaults():
    picture, _ = run("a.png", "--hue", "7", "--bright")[1]

    assert picture.colour.given_options == ["--hue", "--bright"]
    assert picture.sizes.given_options == []
