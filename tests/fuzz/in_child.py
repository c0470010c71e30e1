"""Runs a target in a process of its own, so that one that dies or hangs is a finding and not the end of the run."""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import structlog
from fuzz.finding import TIME_LIMIT_SECONDS, Finding
from fuzz.opened_files import OpenedFiles
from fuzz.target import ACCEPTED, REFUSED, Target, input_rng
from support.growth import Growth

_SAMPLES: Final = 40
_MOST_FAULTS: Final = 20  # of one target, after which the rest of its inputs says nothing new
_START_SECONDS: Final = 60.0
_TELL_SECONDS: Final = 0.5


def run_in_child(
    target: Target,
    *,
    inputs: int,
    seed: int,
    first: int = 0,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
    outcomes_needed: tuple[str, ...] = (ACCEPTED, REFUSED),
) -> Finding:
    """Give a target so many inputs, from number `first` on."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    number = context.Value("q", -1, lock=False)
    finding = Finding(target=target.name, seed=seed, outcomes_needed=outcomes_needed)
    with tempfile.TemporaryDirectory(prefix="engram-store-fuzz-") as directory:
        child = context.Process(target=_run, args=(target, directory, inputs, seed, first, there, number))
        child.start()
        there.close()
        try:
            while (told := _next_word(here, number, child, time_limit_seconds)) is not None:
                _note(finding, told)
        except TimeoutError:
            finding.faults.append(f"input {number.value} of seed {seed}: hangs, ended after {time_limit_seconds:g} s")
        finally:
            if child.is_alive() and finding.faults:
                child.kill()
            child.join(_START_SECONDS)
    if child.exitcode and not finding.faults:
        finding.faults.append(f"input {number.value} of seed {seed}: the process ended with status {child.exitcode}")
    return finding


def _next_word(here: Connection, number: Any, child: BaseProcess, limit_seconds: float) -> dict[str, Any] | None:
    """Wait for what the child tells next, None at its end; raises TimeoutError when one input takes too long."""
    deadline, at = time.monotonic() + _START_SECONDS, number.value
    while not here.poll(_TELL_SECONDS):
        if number.value != at:
            deadline, at = time.monotonic() + limit_seconds, number.value
        if time.monotonic() > deadline:
            raise TimeoutError
        if not child.is_alive() and not here.poll(0):
            return None
    try:
        return here.recv()
    except EOFError:
        return None


def _note(finding: Finding, told: dict[str, Any]) -> None:
    finding.inputs = told["inputs"]
    finding.outcomes = told["outcomes"]
    finding.longest_seconds = told["longest"]
    finding.faults = told["faults"]
    finding.growth = told["growth"]


def _run(target: Target, directory: str, inputs: int, seed: int, first: int, told: Connection, number: Any) -> None:
    """Runs in the child."""
    _log_into_nothing()
    outcomes, faults, growth, longest = Counter[str](), list[str](), Growth(), 0.0
    last_told = 0.0
    with target.opened(Path(directory)) as try_one:
        files = OpenedFiles(Path(directory))
        for done, current in enumerate(range(first, first + inputs), 1):
            number.value = current
            rng, began = input_rng(seed, target.name, current), time.monotonic()
            try:
                outcomes[try_one(rng)] += 1
                if not target.opens_what_is_named:
                    files.check()
            except Exception as error:  # whatever it is, it must not come out
                outcomes["wrong"] += 1
                faults.append(f"input {current} of seed {seed}: {_said(error)}")
            now = time.monotonic()
            longest = max(longest, now - began)
            if done * _SAMPLES // inputs != (done - 1) * _SAMPLES // inputs:
                gc.collect()
                growth.look(os.getpid(), done)
            is_last = done == inputs or len(faults) >= _MOST_FAULTS
            if is_last or now - last_told > _TELL_SECONDS:
                told.send(
                    {"inputs": done, "outcomes": outcomes, "longest": longest, "faults": faults, "growth": growth}
                )
                last_told = now
            if is_last:
                break
    told.close()


def _log_into_nothing() -> None:
    """Have lines of the log rendered, which hostile texts must not hinder, and read by nobody."""
    nowhere = Path(os.devnull).open("w", errors="backslashreplace")  # noqa: SIM115  # as standard error is
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(nowhere))


def _said(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error!s:.1000} ({Path(where.filename).name}:{where.lineno})"
