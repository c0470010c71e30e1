"""The checks of deploy/ need its tools, which `make deploy-check` installs beside the node."""

import importlib.util
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
HAS_TOOLS = importlib.util.find_spec("helm_python") is not None
collect_ignore = (
    []
    if HAS_TOOLS
    else [
        "test_broken_on_purpose.py",
        "test_checked_settings.py",
        "test_operators_page.py",
        "test_started_as_deployed.py",
    ]
)
if HAS_TOOLS:
    sys.path.insert(0, str(DEPLOY))


@pytest.fixture
def deploy():
    return DEPLOY
