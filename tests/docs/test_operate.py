"""Every command of the operator's page is run, section by section, and prints what the page shows."""

import shutil

import pytest
from docs.not_run import NOT_RUN, REPOSITORY, complaints_about, is_not_run
from docs.pages import Step, sections_of
from docs.shell import shell_in
from docs.steps import complaint, run

PAGE = (REPOSITORY / "docs" / "operate.md").read_text()
SECTIONS = sections_of(PAGE)
# Of these `make test` runs each, and `make test-operate` the others as well.
SHORT = {"First table", "Settings"}
LEAVE = "jobs -p | xargs -r kill; wait"  # what the page says of the end of a section
NEEDED = {"etcd": "etcd-server", "openssl": "openssl", "curl": "curl"}
MAY_BE_MISSING = {"promtool"}  # Prometheus' own, which `make deploy-check` installs


@pytest.fixture
def folder(tmp_path):
    """An empty folder in what looks like a checkout."""
    for entry in REPOSITORY.iterdir():
        if not entry.name.startswith(".") and entry.name not in {"try", "build", "dist"}:
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "try").mkdir()
    return tmp_path / "try"


def first_word(step):
    return step.command.split()[0]


def missing(section):
    """Programs that a section wants and this machine lacks."""
    return {name for name in map(first_word, section.steps) if name in NEEDED and shutil.which(name) is None}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "section",
    [pytest.param(each, id=each.title, marks=[] if each.title in SHORT else [pytest.mark.long]) for each in SECTIONS],
)
def test_what_a_section_says_is_what_comes(section, folder, tmp_path):
    if lacks := missing(section):
        pytest.skip(f"needs {', '.join(lacks)} (Debian: {', '.join(NEEDED[each] for each in lacks)})")

    with shell_in(folder, tmp_path / "output") as shell:
        for step in section.steps:
            if is_not_run(step.command):
                assert list(complaints_about(step.command)) == [], f"docs/operate.md:{step.line}"
            elif first_word(step) not in MAY_BE_MISSING or shutil.which(first_word(step)):
                run(shell, step, "docs/operate.md")
        shell.run(LEAVE)
        assert shell.run("jobs -p").printed == "", "something runs on that the next section would meet"


@pytest.mark.parametrize(
    ("shown", "status", "printed", "said"),
    [
        ((), 1, "", "exit status 1"),
        (("error: ...",), 0, "error: but all is well\n", "exit status 0"),
        (("done",), 0, "nearly done\n", "the page shows something else"),
        (("error: no",), 2, "error: no\n", None),
        ((), 0, "whatever\n", None),
    ],
)
def test_a_command_fails_where_the_page_shows_an_error_and_nowhere_else(shown, status, printed, said):
    assert complaint(Step(command="x", shown=shown, line=1), status, printed) == said


def test_the_page_says_how_a_section_is_left():
    assert f"`{LEAVE}`" in PAGE


def test_what_is_not_run_is_on_the_page():
    """No exception outlives the command that it was made for."""
    commands = [step.command for section in SECTIONS for step in section.steps]

    assert [begin for begin in NOT_RUN if not any(command.startswith(begin) for command in commands)] == []


def test_short_sections_are_on_the_page():
    assert {section.title for section in SECTIONS} >= SHORT
