"""Each line of the documentation that calls engram-store keeps to the options that it has."""

import pytest
from docs.command_lines import calls_in, complaint_about
from docs.not_run import REPOSITORY
from docs.pages import sections_of, spans_of

PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "deploy").rglob("*.md")),
]


def complaints(page):
    """What engram-store has against the commands of a page, in blocks and in the text."""
    text = page.read_text()
    commands = [(step.line, step.command) for section in sections_of(text) for step in section.steps]
    spans = [(line, span) for line, span in spans_of(text) if span.startswith("engram-store ")]
    for line, command in commands + spans:
        for call in calls_in(command):
            complaint = complaint_about(call)
            # The text may speak of a command without all that it takes.
            if complaint and not ((line, command) in spans and complaint.startswith("Missing")):
                yield f"{page.name}:{line}: engram-store {' '.join(call)}: {complaint}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_of_a_page_are_those_that_there_are(page):
    assert list(complaints(page)) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("engram-store serve ./data --lissten 127.0.0.1:1", "No such option: --lissten"),
        ("engram-store serve ./data 2> log & engram-store tables", "Missing argument 'ROOT'"),
        ("ENGRAM_X=1 engram-store create ./data demo --row-bytes 8", "Missing option '--rows'"),
        ("for n in 1 2; do\n  X=1 engram-store serve ./$n --workers four &\ndone", "Invalid value for '--workers'"),
        ("old=$(engram-store tokn list t.toml)", "No such command 'tokn'"),
        ("engram-store token", "Missing command"),
        ("engram-store config show | engram-store doctor a b", "unexpected extra arguments (b)"),
        ("sudo /opt/x/bin/engram-store drop \\\n    ./data", "Missing argument 'NAME'"),
        ("engram-store load grpc://x --rate fast --nope", "No such option: --nope"),
    ],
)
def test_a_wrong_command_line_is_found(command, said):
    found = [complaint for call in calls_in(command) if (complaint := complaint_about(call))]

    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "command",
    [
        "engram-store import ROOT NAME FILE",
        "engram-store serve ./data --workers $n 2>> log &",
        "cat > x <<'END'\nengram-store nonsense\nEND\nengram-store tables ./data",
        "wait $!; engram-store --version",
    ],
)
def test_a_right_one_is_not(command):
    calls = list(calls_in(command))

    assert len(calls) == 1
    assert complaint_about(calls[0]) is None
