"""What is drawn while a run is at work: events in, a board or lines out."""

from __future__ import annotations

import io

from rich.console import Console

from agentflow.cli.follow import LineFollower, LiveFollower
from agentflow.execution.context import Event

EVENTS = [
    Event("run_started", text="work", data={"run_id": "work-1"}),
    Event("step_started", "input"),
    Event("step_finished", "input", data={"envelope": {"status": "ok"}}),
    Event("step_started", "plan"),
    Event("step_started", "plan/predict[1]"),
    Event("progress", "plan", "round 1: best 2.0 cm", 1, 4),
    Event("step_finished", "plan/predict[1]", data={"envelope": {"status": "ok"}}),
    Event("step_finished", "plan", data={"envelope": {"status": "ok"}}),
    Event("step_started", "film"),
    *(Event("progress", "film", "filming", done, 100) for done in range(1, 101)),
    Event("step_finished", "film", data={"envelope": {"status": "degraded"}}),
]


def test_lines_tell_steps_and_progress_by_quarters():
    stream = io.StringIO()
    with LineFollower(stream) as follower:
        for event in EVENTS:
            follower(event)
    told = [line.split("] ", 1)[1] for line in stream.getvalue().splitlines()]
    assert [line.rsplit(",", 1)[0] for line in told] == [
        "plan: round 1: best 2.0 cm (1/4)",
        "plan: ok",
        *(f"film: filming ({done}/100)" for done in (1, 25, 50, 75, 100)),
        "film: degraded",
    ]
    assert follower.run_id == "work-1"
    assert follower.finished == ["plan", "film"]


def test_the_board_shows_what_is_at_work_and_is_gone_at_the_end():
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=True, width=80, legacy_windows=False, _environ={"TERM": "xterm"}
    )
    with LiveFollower(console) as follower:
        for event in EVENTS[:-2]:
            follower(event)
        console.print(follower._board())
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
    for event in (*EVENTS, Event("step_started", "plan")):
        follower(event)
    assert follower.finished == ["film"]
