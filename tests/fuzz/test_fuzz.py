"""The short form of each target, with a fixed seed; and what each would notice."""

import pytest
from fuzz.finding import Finding
from fuzz.in_child import run_in_child
from fuzz.planted import accepting, die, hang, planted, snoop, wrong
from fuzz.sentinels import Sentinels
from fuzz.target import Target, Wrong
from fuzz.targets import TARGETS
from fuzz.together import together
from fuzz.wire.run import WIRE_TARGETS, run_over_the_wire

INPUTS, WIRE_INPUTS = 3_000, 200


def test_whatever_is_read_is_accepted_rightly_or_refused_in_a_documented_way():
    target, needed = together(TARGETS)

    finding = run_in_child(target, inputs=INPUTS, seed=1, outcomes_needed=needed)

    assert finding.verdicts() == []


def test_a_node_answers_whatever_comes_and_goes_on_returning_the_right_rows():
    findings = run_over_the_wire([(target, WIRE_INPUTS) for target in WIRE_TARGETS], seed=1)

    assert [(finding.target, finding.verdicts()) for finding in findings] == [
        (target.name, []) for target in WIRE_TARGETS
    ]


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (planted(wrong), "Wrong: other rows"),
        (planted(hang), "hangs"),
        (planted(snoop), "somebody touched '/etc/passwd'"),
        (planted(die), "ended with status -11"),
        (Target("planted", "", 1, accepting), "no input was refused"),
    ],
    ids=["wrong", "hanging", "snooping", "dying", "accepting"],
)
def test_a_target_that_is_not_as_it_should_be_is_found_out(target, verdict):
    finding = run_in_child(target, inputs=50, seed=1, time_limit_seconds=0.5)

    assert any(verdict in missed for missed in finding.verdicts())


def test_no_input_is_no_success():
    assert "had no input" in Finding(target="none", seed=1).verdicts()


@pytest.mark.parametrize(
    "touch",
    [
        lambda directory: (directory / "secret").read_bytes(),
        lambda directory: (directory / "deep" / "new").touch(),
        lambda directory: (directory / "deep" / "secret").unlink(),
        lambda directory: (directory / "secret").write_bytes(b"x"),
    ],
    ids=["read", "made", "removed", "written"],
)
def test_a_file_that_is_touched_is_noticed(tmp_path, touch):
    with pytest.raises(Wrong, match="touched"), Sentinels.planted(tmp_path / "outside") as outside:
        touch(outside.directory)


def test_files_that_nobody_touches_are_as_they_were(tmp_path):
    with Sentinels.planted(tmp_path / "outside") as outside:
        (tmp_path / "beside").write_bytes(b"x")
        outside.check()
