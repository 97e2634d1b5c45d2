"""What is drawn while a run is at work: events in, a board or lines out."""

from __future__ import annotations

import io
from itertools import count

import pytest
from rich.console import Console

from agentflow.cli.follow import LineFollower, LiveFollower
from agentflow.cli.summary import BudgetLine
from agentflow.core.records import Envelope, StepStatus
from agentflow.execution.events import (
    Event,
    ItemsProgress,
    Progress,
    RunStarted,
    StepFinished,
    StepStarted,
)


def ended(step: str, status: str = "ok", **rest) -> StepFinished:
    return StepFinished("work-1", step, envelope=Envelope(status=StepStatus(status)), **rest)


EVENTS: list[Event] = [
    RunStarted("work-1", "", "work"),
    StepStarted("work-1", "input"),
    ended("input"),
    StepStarted("work-1", "plan"),
    StepStarted("work-1", "plan/predict[1]"),
    Progress("work-1", "plan", "round 1: best 2.0 cm", 1, 4),
    ended("plan/predict[1]"),
    ended("plan"),
    StepStarted("work-1", "film"),
    *(Progress("work-1", "film", "filming", done, 100) for done in range(1, 101)),
    ended("film", "degraded"),
]


def items(total: int, took: float, *, found: int = 0) -> list[Event]:
    """A foreach, two items at a time, each of which takes ``took`` seconds; its last two are still at work."""
    seconds = count(1000.0, took)
    told: list[Event] = [ItemsProgress("work-1", "each", 0, 0, total)]
    for index in range(0, total - 2, 2):
        begin, end = next(seconds), 1000.0 + took * (index / 2 + 1)
        told += [StepStarted("work-1", f"each[{at}]", time=begin) for at in (index, index + 1)]
        for at in (index, index + 1):
            told += [
                ended(f"each[{at}]", found=at < found, time=begin if at < found else end),
                ItemsProgress("work-1", "each", at + 1, 0, total),
            ]
    return told + [StepStarted("work-1", f"each[{at}]", time=next(seconds)) for at in (total - 2, total - 1)]


def lines_of(events: list[Event]) -> tuple[LineFollower, list[str]]:
    stream = io.StringIO()
    with LineFollower(stream) as follower:
        for event in events:
            follower(event)
    return follower, [line.split("] ", 1)[1] for line in stream.getvalue().splitlines()]


def test_lines_tell_steps_and_progress_by_quarters():
    follower, told = lines_of(EVENTS)
    assert [line.rsplit(",", 1)[0] for line in told] == [
        "plan: round 1: best 2.0 cm (1/4)",
        "plan: ok",
        *(f"film: filming ({done}/100)" for done in (1, 25, 50, 75, 100)),
        "film: degraded",
    ]
    assert follower.run_id == "work-1"
    assert follower.finished == ["plan", "film"]


@pytest.mark.parametrize(("found", "left"), [(0, 6.0), (4, 6.0)])
def test_what_is_left_is_told_by_the_median_of_the_items_that_were_done(found, left):
    follower, told = lines_of(items(8, 6.0, found=found))
    step = follower.steps["each"]
    assert (step.done, step.total, len(step.at_work), step.left_s) == (6, 8, 2, left)
    assert [line.split(",")[0] for line in told] == [f"each: items ({done}/8)" for done in (1, 2, 4, 6)]
    assert "left" in told[-1]


def test_the_board_shows_items_what_is_left_and_the_budget():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, legacy_windows=False, color_system=None)
    lines = [BudgetLine("tokens", 250, 250, 1000), BudgetLine("frames", 7, 0, None)]
    follower = LiveFollower(console, lambda run_id: lines if run_id == "work-1" else [])
    for event in items(8, 6.0):
        follower(event)
    console.print(follower.board())
    shown = stream.getvalue()
    assert "items 6/8, about 6.0 s left" in shown
    assert "500 of 1,000" in shown
    assert "frames" not in shown  # it has no cap


def test_the_board_shows_what_is_at_work_and_is_gone_at_the_end():
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=True, width=80, legacy_windows=False, _environ={"TERM": "xterm"}
    )
    with LiveFollower(console) as follower:
        for event in EVENTS[:-2]:
            follower(event)
        console.print(follower.board())
    shown = stream.getvalue()
    assert "filming 99/100" in shown
    assert shown.endswith("\x1b[2K") or "\x1b[?25h" in shown  # erased, and the cursor is back


def test_a_stream_that_breaks_does_not_end_the_run():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    follower = LineFollower(Broken())
    for event in EVENTS:
        follower(event)
    assert follower.finished == ["plan", "film"]


def test_a_step_that_a_gate_sends_back_begins_anew():
    follower = LineFollower(io.StringIO())
    for event in (*EVENTS, StepStarted("work-1", "plan")):
        follower(event)
    assert follower.finished == ["film"]
