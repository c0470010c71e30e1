"""Each alert rule leads to its own section of the operator's page, and no section is left of a rule that went."""

import re

from docs.not_run import REPOSITORY

PAGE = (REPOSITORY / "docs" / "operate.md").read_text()
RULES = (REPOSITORY / "deploy" / "chart" / "files" / "alerts.yaml").read_text()
PARTS = ("**Means:**", "**Users:**", "**First look:**", "**Do:**", "**Goes away**")


def answers():
    """The text below the heading of each alert."""
    return dict(re.findall(r"^### (Engram\w+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def anchors():
    """The addresses of all headings, as they are made of their words."""
    return {
        re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    }


def test_each_alert_has_a_section_and_each_section_an_alert():
    rules = re.findall(r"^      - alert: (\w+)$", RULES, re.MULTILINE)

    assert rules
    assert list(answers()) == rules


def test_each_alert_leads_to_its_section():
    led = re.findall(r"^      - alert: (\w+)$|^          runbook: (\S+)$", RULES, re.MULTILINE)
    pairs = [(name, following) for (name, _), (_, following) in zip(led[::2], led[1::2], strict=True)]

    assert [each for each in pairs if each[1] != f"docs/operate.md#{each[0].lower()}"] == []
    assert {name.lower() for name, _ in pairs} <= anchors()


def test_each_section_says_what_it_means_for_whom_and_what_to_do():
    assert [(name, part) for name, text in answers().items() for part in PARTS if part not in text] == []


def test_links_within_the_page_lead_somewhere():
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) - anchors() == set()
