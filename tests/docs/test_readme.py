"""All that the README has its reader type, in its order: each section goes on with what those before it have made."""

import contextlib
import dataclasses
import re
import shutil
import sys

import pytest
from docs.not_run import REPOSITORY
from docs.pages import sections_of
from docs.shell import python_in, shell_in
from docs.steps import run

SECTIONS = sections_of((REPOSITORY / "README.md").read_text(), with_python=True)
# They set up environments of their own, and `.ci/run` runs them.
MADE = re.compile(r"make ")
FOREGROUND = re.compile(r"engram-store serve .*[^&]", re.DOTALL)
# Where etcd listens if it is not told: only what is written is moved to the addresses that the test has to itself.
ETCD_LISTENS = " ".join(
    f"--{option} http://127.0.0.1:{port}"
    for option, port in (("listen-client-urls", 2379), ("advertise-client-urls", 2379), ("listen-peer-urls", 2380))
)
TO_PASTE = "PASTE_WHAT_WAS_PRINTED"
FINGERPRINT = re.compile(r"^engram-v1:\S+$", re.MULTILINE)
GENERATED = (REPOSITORY / ".gitignore").read_text().split("# what README.md and docs/operate.md have one write")[1]


@pytest.fixture
def checkout(tmp_path):
    """What looks like a checkout in which nothing was tried yet, with the environment that the tests run in."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for entry in REPOSITORY.iterdir():
        if not entry.name.startswith(".") and not any(entry.match(each.strip("/")) for each in GENERATED.split()[1:]):
            (checkout / entry.name).symlink_to(entry)
    (checkout / ".venv").symlink_to(sys.prefix)
    return checkout


def as_typed(step, printed):
    """A step as somebody types it who goes on in a second terminal, and pastes what was printed."""
    command = step.command.partition("    # ")[0] if not step.is_python else step.command
    if FOREGROUND.fullmatch(command):
        command += " &"
    if command.startswith("etcd "):
        command = command.replace("etcd ", f"etcd {ETCD_LISTENS} ", 1)
    if TO_PASTE in command:
        command = command.replace(TO_PASTE, FINGERPRINT.findall(printed)[-1])
    return dataclasses.replace(step, command=command)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_block_does_what_is_said(checkout, tmp_path):
    if shutil.which("etcd") is None:
        pytest.skip("needs etcd (Debian: etcd-server)")
    printed = ""
    with shell_in(checkout, tmp_path / "output") as shell:
        for section in SECTIONS:
            with contextlib.ExitStack() as stack:
                python = None
                for step in (as_typed(each, printed) for each in section.steps if not MADE.match(each.command)):
                    if step.is_python and python is None:
                        python = stack.enter_context(python_in(checkout, tmp_path / "output", shell.address))
                    printed = run(python if step.is_python else shell, step, "README.md")


def test_all_sections_with_something_to_type_are_read():
    assert {section.title for section in SECTIONS} >= {
        "Serve a table",
        "Fetch rows",
        "In production",
        "Use it in a model",
    }
    assert sum(step.is_python for section in SECTIONS for step in section.steps) >= 7
    assert TO_PASTE in "".join(step.command for section in SECTIONS for step in section.steps)
