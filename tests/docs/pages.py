"""What a page of documentation tells its reader to type, and what it says comes back.

A block of ```console holds commands after `$ `, each with what it prints below it. A command goes on in the next line
where the shell would: after a backslash, in a loop, in a here-document. A block of ```python is one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PROMPT = "$ "
_FENCE = "```"
_HERE_DOCUMENT = re.compile(r"<<-?\s*'?(\w+)'?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command, what the page shows that it prints (no lines: whatever it likes), and where that is."""

    command: str
    shown: tuple[str, ...]
    line: int
    is_python: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What stands below one heading of the second rank, those of lower ranks included."""

    title: str
    steps: tuple[Step, ...]


def sections_of(page: str, *, with_python: bool = False) -> list[Section]:
    """Return the sections of a page that have commands, or Python where that is asked for, too."""
    found: list[tuple[str, list[Step]]] = [("", [])]
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        if line.startswith("## "):
            found.append((line.removeprefix("## "), []))
        elif line.startswith(_FENCE):
            block = list(_until_fence(lines))
            if line == f"{_FENCE}console":
                found[-1][1].extend(_steps_of(block))
            elif line == f"{_FENCE}python" and with_python:
                code = "\n".join(text for _, text in block)
                found[-1][1].append(Step(command=code, shown=(), line=number + 1, is_python=True))
    return [Section(title=title, steps=tuple(steps)) for title, steps in found if steps]


def spans_of(page: str) -> Iterator[tuple[int, str]]:
    """Give what stands in `backquotes` outside of blocks, with its line."""
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        if line.startswith(_FENCE):
            list(_until_fence(lines))
        else:
            yield from ((number, span) for span in re.findall(r"`([^`]+)`", line))


def _until_fence(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        if line.startswith(_FENCE):
            return
        yield number, line


def _steps_of(block: Iterable[tuple[int, str]]) -> Iterator[Step]:
    command, shown, begun = "", [], 0
    for number, line in block:
        if command and not shown and _goes_on(command):
            command += f"\n{line}"
        elif line.startswith(_PROMPT):
            if command:
                yield Step(command=command, shown=tuple(shown), line=begun)
            command, shown, begun = line.removeprefix(_PROMPT), [], number
        else:
            shown.append(line)
    if command:
        yield Step(command=command, shown=tuple(shown), line=begun)


def _goes_on(command: str) -> bool:
    """Whether the shell would wait for another line."""
    if here := _HERE_DOCUMENT.search(command):
        return here[1] not in command.splitlines()[1:]
    words = re.findall(r"\w+", command)
    return command.endswith("\\") or words.count("do") > words.count("done")
