"""``run --detach``, ``worker``, ``cancel``: runs that other processes do."""

from __future__ import annotations

import json
import signal

import pytest


def read_until(stream, text: str) -> list[str]:
    """Read lines up to one that holds ``text``; a stream that ends before it is a failure."""
    lines: list[str] = []
    while not lines or text not in lines[-1]:
        line = stream.readline()
        assert line, f"it ended before {text!r}: {lines}"
        lines.append(line)
    return lines


@pytest.fixture
def at_the_gate(project, agentflow, start):
    """A run of ``shop`` in a worker's process, its second item at work; and the worker."""
    (project / "gate-3").touch()
    run_id = agentflow("run", "shop", "--detach", "--quiet").out.strip()
    process = start("worker", "--json")
    read_until(process.stdout, "taken")
    while "pay:3" not in (calls(project)):
        assert process.poll() is None
    return run_id, process


def calls(project) -> list[str]:
    log = project / "calls.txt"
    return log.read_text().split() if log.exists() else []


def test_a_detached_run_is_queued_until_a_worker_takes_it(project, agentflow):
    said = agentflow("run", "hello", "--detach", "--name", "Ada")
    run_id = said.out.strip()
    assert (said.code, run_id.startswith("hello-")) == (0, True)
    assert "agentflow worker" in said.err
    listed = agentflow("runs").out
    assert "· queued" in listed
    assert "for a worker" in listed
    worked = agentflow("worker", "--until-idle")
    assert worked.code == 0
    assert [line.split()[1:3] for line in worked.out.splitlines()] == [
        ["ready", "a"], ["taken", run_id], ["succeeded", run_id], ["ended", "1"],
    ]  # fmt: skip
    assert "a tool that prints" in worked.err
    assert json.loads(agentflow("show", run_id, "--json").out)["outputs"]["text"] == "hello Ada"


def test_a_wrong_input_is_refused_before_anything_is_queued(project, agentflow):
    said = agentflow("run", "hello", "--detach", "--nam", "Ada")
    assert (said.code, said.out) == (2, "")
    assert json.loads(agentflow("runs", "--json").out) == []


def test_a_worker_tells_each_run_on_a_line_also_those_it_cannot_go_on_with(project, agentflow):
    asks = agentflow("run", "asks", "--detach").out.strip()
    changed = agentflow("run", "counts", "--detach").out.strip()
    fails = agentflow("run", "fails", "--detach").out.strip()
    file = project / "workflows.yaml"
    file.write_text(file.read_text().replace("[1, 2, 3]", "[1, 2, 3, 4]"))
    said = agentflow("worker", "--until-idle", "--json", "--parallel", "1")
    told = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 0
    assert {(each["event"], each["run_id"]) for each in told[1:-1]} == {
        ("taken", asks), ("waiting", asks), ("left_alone", changed), ("taken", fails), ("failed", fails),
    }  # fmt: skip
    words = {each["run_id"]: each["text"] for each in told}
    assert "Shall it go on? (agentflow approvals)" in words[asks]
    assert "changed since" in words[changed]
    assert "it broke" in words[fails]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_a_worker_that_is_told_to_end_gives_its_runs_back_to_the_next_one(
    project, agentflow, at_the_gate, sign
):
    run_id, process = at_the_gate
    assert "held_by" in agentflow("runs", "--json").out
    assert f"process {process.pid} on" in agentflow("runs").out
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    (project / "gate-3").unlink()
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["given_back", "ended"]
    assert json.loads(agentflow("runs", "--json").out)[0]["status"] == "queued"
    agentflow("worker", "--until-idle")
    assert json.loads(agentflow("runs", "--json").out)[0]["status"] == "waiting"
    assert calls(project)[:2] == ["pay:1", "pay:2"]
    assert calls(project).count("pay:1") == calls(project).count("pay:2") == 1  # what was finished is kept
    assert json.loads(agentflow("show", run_id, "--json").out)["steps"]["each"] == "ok"


def test_a_run_of_a_dead_worker_is_the_next_ones(project, agentflow, at_the_gate):
    run_id, process = at_the_gate
    process.kill()
    process.wait(timeout=60)
    assert "(dead)" in agentflow("runs").out
    followed = agentflow("show", run_id, "--follow")
    assert followed.code == 1
    assert f"nobody is at work on run {run_id}" in followed.err
    (project / "gate-3").unlink()
    assert run_id in agentflow("worker", "--until-idle").out
    assert json.loads(agentflow("runs", "--json").out)[0]["status"] == "waiting"


def test_a_run_is_cancelled_in_the_process_that_is_at_work_on_it(project, agentflow, at_the_gate):
    run_id, process = at_the_gate
    said = agentflow("cancel", run_id)
    assert said.code == 0
    assert f"run {run_id} is at work in process {process.pid} on" in said.out
    told = json.loads(read_until(process.stdout, "cancelled")[-1])
    (project / "gate-3").unlink()
    assert (told["run_id"], told["text"]) == (run_id, "by `agentflow cancel`")
    again = agentflow("cancel", run_id)
    assert (again.code, "a run that has not ended" in again.err) == (2, True)
    assert agentflow("resume", run_id).code == 6
    assert calls(project).count("pay:1") == 1


def test_a_run_that_nobody_has_is_cancelled_at_once(project, agentflow):
    run_id = agentflow("run", "hello", "--detach", "--name", "Ada").out.strip()
    said = agentflow("cancel", "last", "--json")
    assert (said.code, json.loads(said.out)) == (
        0, {"run_id": run_id, "status": "cancelled", "cancel_requested": False},
    )  # fmt: skip


def test_a_run_in_this_terminal_that_is_cancelled_elsewhere_says_so(project, agentflow, start):
    (project / "gate-3").touch()
    process = start("run", "shop")
    while "pay:3" not in calls(project):
        assert process.poll() is None
    run_id = json.loads(agentflow("runs", "--json").out)[0]["run_id"]
    agentflow("cancel", run_id)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert f"cancelled by `agentflow cancel`: run {run_id}; finished steps are kept (one)" in err


def test_a_run_of_another_process_is_followed_to_where_it_waits(project, agentflow, start, at_the_gate):
    run_id, _ = at_the_gate
    watching = start("show", run_id, "--follow", "--json")
    before = read_until(watching.stderr, "each: items (1/2)")
    assert [line.split("] ")[1].split(",")[0] for line in before[:1]] == ["one: ok"]
    (project / "gate-3").unlink()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 6
    assert [line.split("] ")[1].split(",")[0].strip() for line in err.splitlines()] == [
        "each: items (2/2)", "each: ok", "ask: waits for a decision: Ship it?",
    ]  # fmt: skip
    assert json.loads(out)["status"] == "waiting"


def test_a_queued_run_is_followed_until_somebody_has_done_it(project, agentflow, start):
    run_id = agentflow("run", "fails", "--detach").out.strip()
    watching = start("show", run_id, "--follow", "--quiet")
    assert "is queued" in watching.stderr.readline()
    agentflow("worker", "--until-idle")
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, out.split()[:2]) == (1, ["failed", run_id])


def test_a_run_whose_trace_is_another_machines_is_followed_by_its_records(project, agentflow):
    agentflow("run", "counts")
    for trace in (project / ".agentflow" / "runs").glob("*/trace.jsonl"):
        trace.unlink()
    said = agentflow("show", "last", "--follow")
    assert (said.code, "count: ok" in said.err) == (0, True)


def test_a_follower_that_goes_away_leaves_the_run_alone(project, agentflow, start, at_the_gate):
    run_id, process = at_the_gate
    watching = start("show", run_id, "--follow")
    read_until(watching.stderr, "one: ok")
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (130, "")
    assert (
        err.splitlines()[-1] == f"no longer followed; run {run_id} goes on. End it: agentflow cancel {run_id}"
    )
    assert process.poll() is None
