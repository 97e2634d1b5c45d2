"""``approve``, ``reject``, ``resume``: a run that waits for a person, or was cut off."""

from __future__ import annotations

import json
import signal


def waiting(agentflow):
    said = agentflow("run", "asks")
    assert said.code == 6
    return said, json.loads(agentflow("runs", "--json").out)[0]["run_id"]


def test_a_run_that_waits_shows_the_question_and_how_to_answer(project, agentflow):
    said, run_id = waiting(agentflow)
    for expected in (
        "Shall it go on?",
        f"agentflow approve {run_id}",
        f"agentflow reject {run_id}",
        "? waiting",
    ):
        assert expected in said.out
    shown = agentflow("show", run_id)
    assert f"agentflow approve {run_id}" in shown.out


def test_an_approved_run_goes_on_to_its_end(project, agentflow):
    _, run_id = waiting(agentflow)
    said = agentflow("approve", run_id, "--comment", "fine", "--json")
    assert (said.code, json.loads(said.out)["outputs"]) == (0, {"text": "hello you"})


def test_a_rejected_run_ends_with_the_comment_as_its_reason(project, agentflow):
    _, run_id = waiting(agentflow)
    said = agentflow("reject", "last", "--comment", "not today")
    assert said.code == 5
    assert "not today" in said.out
    again = agentflow("approve", run_id)
    assert (again.code, again.out) == (2, "")
    assert "status 'refused'" in again.err


def test_a_waiting_run_that_is_resumed_without_a_decision_waits_on(project, agentflow):
    waiting(agentflow)
    said = agentflow("resume", "last")
    assert said.code == 6
    assert "agentflow approve" in said.out


def test_a_person_at_the_terminal_is_asked_right_away(project, at_terminal):
    said, code = at_terminal("run", "asks", answer=b"y\n")
    assert code == 0
    assert "Approve?" in said
    assert "hello you" in said


def test_a_person_who_just_presses_enter_decides_later(project, agentflow, at_terminal):
    said, code = at_terminal("run", "asks", answer=b"\n")
    assert code == 6
    assert "hello you" not in said
    assert json.loads(agentflow("runs", "--json").out)[0]["status"] == "waiting"


def test_a_cancelled_run_is_resumed_where_it_stood(project, start, agentflow):
    process = start("run", "slow")
    line = ""
    while "at work" not in line:
        line = process.stderr.readline()
        assert line, "the run ended before the tool was at work"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    file = project / "tools" / "t.py"
    file.write_text(file.read_text().replace("asyncio.sleep(60)", "asyncio.sleep(0)"))
    said = agentflow("resume", "last")
    assert said.code == 0
    assert "a tool that prints" not in said.err  # the finished step is not called again
    assert "✔ succeeded" in said.out
