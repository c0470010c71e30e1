"""Commands of a page, run and held against what the page shows."""

from __future__ import annotations

import re
import time
from typing import Final

from docs.pages import Step
from docs.shell import Session
from docs.shown import is_shown

_WAIT_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.1
# What only looks is looked at again until it shows what the page says, which speaks of "within seconds".
_LOOK: Final = re.compile(r"(curl|grep|tail|shown|engram-store (cluster|doctor|tables|inspect|admin \S+ status)) ")
_FAILED: Final = re.compile(r"^error: ", re.MULTILINE)


def complaint(step: Step, status: int, printed: str) -> str | None:
    """Return what is wrong with how a command ended; None if it ended as the page says."""
    if bool(status) != bool(_FAILED.search("\n".join(step.shown))):
        return f"exit status {status}"
    return None if not step.shown or is_shown(step.shown, printed) else "the page shows something else"


def run(session: Session, step: Step, page: str) -> str:
    """Run a command of a page and return what it prints; one in the background prints what is shown by and by.

    Raises AssertionError if that is not what the page says.
    """
    ends = time.monotonic() + _WAIT_SECONDS
    begun = session.num_printed
    status, printed = session.run(step.command)
    while (wrong := complaint(step, status, printed)) and time.monotonic() < ends:
        time.sleep(_PAUSE_SECONDS)
        if _LOOK.match(step.command):
            status, printed = session.run(step.command)
        elif step.command.endswith("&"):
            printed = session.printed_since(begun)
        else:
            break
    shown = "\n".join(step.shown)
    assert not wrong, f"{page}:{step.line}: {wrong}\n$ {step.command}\n{printed}\n--- the page:\n{shown}"
    return printed
