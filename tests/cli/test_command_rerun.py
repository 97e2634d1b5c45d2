"""``rerun``: shows what stands and what will be paid again, asks a person, and begins anew."""

from __future__ import annotations

import json


def finished(agentflow, ask_to_decide) -> str:
    run_id = ask_to_decide("shop")
    assert agentflow("approve", run_id, "--answer", "fps=7", "--quiet").code == 0
    return run_id


def test_a_rerun_shows_what_is_taken_over_and_what_was_paid_for_the_rest(project, agentflow, ask_to_decide):
    run_id = finished(agentflow, ask_to_decide)
    said = agentflow("rerun", run_id, "--from", "each", "--dry-run")
    assert said.code == 0
    shown = [line.split() for line in said.err.splitlines()]
    assert ["taken", "over", "one"] in shown
    assert shown[2][:3] == ["done", "again", "tokens"]
    assert {line[0]: line[1] for line in shown[3:7]} == {"each": "20", "ask": "0", "ship": "10", "in": "all"}
    plan = json.loads(agentflow("rerun", run_id, "--from", "each", "--dry-run", "--json").out)
    assert (plan["reused"], plan["again"]["each"]["tokens"], plan["cost_before"]["tokens"]) == (
        ["one"],
        20,
        30,
    )
    assert len(json.loads(agentflow("runs", "--json").out)) == 1


def test_a_rerun_is_a_run_of_its_own_that_pays_for_what_it_does_again(project, agentflow, ask_to_decide):
    run_id = finished(agentflow, ask_to_decide)
    said = agentflow("rerun", run_id, "--from", "each", "--yes", "--json")
    shown = json.loads(said.out)
    assert (said.code, shown["status"], shown["usage"]["tokens"]["spent"]) == (6, "waiting", 20)
    [newest, _] = json.loads(agentflow("runs", "--json").out)
    assert (newest["run_id"], newest["reused_from"]) == (shown["run_id"], f"{run_id}#each")
    assert (project / "calls.txt").read_text().split() == [
        "pay:1", "pay:2", "pay:3", "pay:7", "pay:2", "pay:3",
    ]  # fmt: skip


def test_a_rerun_from_a_step_that_is_not_there_names_those_that_are(project, agentflow, ask_to_decide):
    run_id = finished(agentflow, ask_to_decide)
    said = agentflow("rerun", run_id, "--from", "shp")
    assert said.code == 2
    assert "unknown step 'shp'. Did you mean 'ship'?" in said.err
    missing = agentflow("rerun", run_id)
    assert missing.code == 2
    assert "--from" in missing.err


def test_a_person_at_the_terminal_is_asked_before_anything_is_paid_again(
    project, agentflow, ask_to_decide, at_terminal
):
    run_id = finished(agentflow, ask_to_decide)
    said, code = at_terminal("rerun", run_id, "--from", "ship", question=b"again?", answer=b"n\n")
    assert (code, "nothing was done" in said) == (130, True)
    assert len(json.loads(agentflow("runs", "--json").out)) == 1
    said, code = at_terminal("rerun", run_id, "--from", "ship", question=b"again?", answer=b"y\n")
    assert (code, "succeeded" in said) == (0, True)
    assert (project / "calls.txt").read_text().split()[-2:] == ["pay:7", "pay:7"]
