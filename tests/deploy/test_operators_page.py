"""The operator's page: what it sets of the chart is what the chart takes, and alerts lead to headings of it."""

import pytest
from check.chart import rendered
from docs.not_run import REPOSITORY, values_of
from docs.pages import sections_of

PAGE = (REPOSITORY / "docs" / "operate.md").read_text()
HELM = [step.command for each in sections_of(PAGE) for step in each.steps if step.command.startswith("helm ")]


def nested(values):
    """Values as Helm reads them from --set a.b=c."""
    found = {}
    for name, value in values.items():
        *above, last = name.split(".")
        place = found
        for each in above:
            place = place.setdefault(each, {})
        place[last] = value
    return found


@pytest.mark.parametrize("command", HELM)
def test_the_chart_takes_what_the_page_sets(deploy, command):
    before = {} if "--reuse-values" not in command else nested(values_of(HELM[0]))

    manifests, _ = rendered(deploy / "chart", before | nested(values_of(command)))

    assert "StatefulSet" in {each["kind"] for each in manifests}
