"""Options of a command in groups: one dataclass a group, whose fields are the options."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeGuard, get_type_hints

import typer

_GIVEN: Final = "given"


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """Options of a node that belong together.

    A subclass has a field for each, annotated as typer wants parameters and named as the option is.
    """

    given: frozenset[str] = frozenset()
    """The fields that somebody set, be it to what they are by default. Not an option itself."""

    @property
    def given_options(self) -> list[str]:
        """The options that somebody set, as on a command line, in their order."""
        return [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(self) if field.name in self.given]

    def over(self, lower: Self) -> Self:
        """Return another group with what somebody set in this one."""
        return dataclasses.replace(lower, **{name: getattr(self, name) for name in self.given})

    def settings(self) -> Mapping[str, Any]:
        """Return the fields of ServerConfig that these options set. Raises ValueError."""
        return {}

    def problems(self) -> Iterator[str]:
        """Say what these options need and this host has not, such as a file that can be read: a sentence each."""
        yield from ()


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that its parameters consist of: dataclasses of options, or of such dataclasses.

    Its first parameter is the context.
    """
    hints = get_type_hints(command, include_extras=True)
    del hints["return"]
    context, *parameters = inspect.signature(command).parameters.values()
    context = context.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.pop(context.name))
    options = list(_options(parameters, hints))

    def with_options(context: typer.Context, **values: object) -> None:
        given = frozenset(name for name in values if _is_given(context, name))
        command(context, **{name: _put_together(name, hint, values, given) for name, hint in hints.items()})

    with_options.__doc__ = command.__doc__
    with_options.__signature__ = inspect.Signature([context, *options])  # type: ignore[attr-defined]
    with_options.__annotations__ = {option.name: option.annotation for option in (context, *options)}
    return with_options


def option_names(group: type) -> list[str]:
    """Return the names of the parameters that a dataclass of options stands for."""
    return [each.name for each in _options(_fields(group), get_type_hints(group, include_extras=True))]


def _options(parameters: Iterable[inspect.Parameter], hints: Mapping[str, Any]) -> Iterator[inspect.Parameter]:
    """Return the parameters with each group replaced by its options."""
    for parameter in parameters:
        hint = hints[parameter.name]
        if _is_group(hint):
            yield from _options(_fields(hint), get_type_hints(hint, include_extras=True))
        else:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hint)


def _is_group(hint: object) -> TypeGuard[type]:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _fields(group: type) -> list[inspect.Parameter]:
    """Return the fields of a group as parameters: those that the dataclass is made with."""
    return [each for each in inspect.signature(group).parameters.values() if each.name != _GIVEN]


def _put_together(name: str, hint: Any, values: Mapping[str, object], given: frozenset[str]) -> object:  # noqa: ANN401
    """Return the value of a parameter: of an option as it is, of a group from its options."""
    if not _is_group(hint):
        return values[name]
    hints = get_type_hints(hint, include_extras=True)
    names = [each.name for each in _fields(hint)]
    group = hint(**{name: _put_together(name, hints[name], values, given) for name in names})
    return dataclasses.replace(group, given=given.intersection(names)) if isinstance(group, OptionGroup) else group


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
