"""``approvals``, ``approve``, ``reject``: what is asked, and decisions with answers, in words or as JSON."""

from __future__ import annotations

import getpass
import json

import pytest


def test_what_is_asked_is_listed_with_all_that_a_decision_needs(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("shop")
    said = agentflow("approvals")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == f"? {run_id}  ask"
    for expected in (
        "Ship it?", "steps.one.output.item", "fps: integer, minimum 1", "note: string, may be left out", "asked",
        "until", "then reject", "digest", f"agentflow approve {run_id} --answer fps=…", f"agentflow reject {run_id}",
    ):  # fmt: skip
        assert expected in said.out, expected
    [asked] = json.loads(agentflow("approvals", "--json").out)
    assert (asked["run_id"], asked["path"], asked["message"], asked["decision"]) == (
        run_id, "ask", "Ship it?", None,
    )  # fmt: skip
    assert asked["shown"] == {"steps.one.output.item": 1}
    assert asked["digest"][:16] in said.out
    assert asked["expires"] > asked["asked"]


def test_answers_are_typed_by_what_the_approval_declares(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("shop")
    said = agentflow("approve", run_id, "--answer", "fps=7", "--answer", "note=12", "--json")
    assert (said.code, json.loads(said.out)["outputs"]) == (0, {"fps": 7, "note": "12"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "answer 'fps': found nothing; allowed: a whole number"),
        (["--answer", "fps=fast"], "answer 'fps': found 'fast' (text)"),
        (["--answer", "fps=0"], "answer 'fps': found 0; allowed: at least 1"),
        (["--answer", "fsp=7"], "Did you mean 'fps'?"),
        (["--answer", "7"], "--answer: found '7'; allowed: name=value"),
        (["--answer", "fps=7", "--approval", "aks"], "found none of this name"),
        (["--answer", "fps=7", "--digest", "00000000"], "the payload changed"),
        (["--answer", "fps=7", "--digest", "0"], "the payload changed"),
    ],
)
@pytest.mark.parametrize("later", [[], ["--later"]], ids=["now", "later"])
def test_a_decision_that_does_not_fit_is_refused_and_nothing_is_decided(
    project, agentflow, ask_to_decide, arguments, message, later
):
    run_id = ask_to_decide("shop")
    said = agentflow("approve", run_id, *arguments, *later)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    [asked] = json.loads(agentflow("approvals", run_id, "--json").out)
    assert asked["decision"] is None


def test_a_decision_for_later_is_recorded_and_the_run_is_a_workers(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("shop")
    [asked] = json.loads(agentflow("approvals", "--json").out)
    said = agentflow(
        "approve", run_id, "--answer", "fps=7", "--later", "--by", "ann", "--comment", "fine",
        "--digest", asked["digest"][:8],
    )  # fmt: skip
    assert said.code == 0
    assert said.out == f"recorded: approve ask. A worker goes on, or: agentflow resume {run_id}\n"
    assert agentflow("approvals").out == "nothing is asked\n"
    [decided] = json.loads(agentflow("approvals", "--all", "--json").out)
    assert (decided["decision"], decided["by"], decided["comment"], decided["answers"]) == (
        "approve", "ann", "fine", {"fps": 7, "note": "none"},
    )  # fmt: skip
    assert "by ann on" in agentflow("approvals", "--all").out
    assert "decided; for a worker" in agentflow("runs").out
    again = agentflow("reject", run_id, "--later")
    assert again.code == 2
    assert "nothing is asked" in again.err
    assert agentflow("worker", "--until-idle").code == 0
    assert json.loads(agentflow("show", run_id, "--json").out)["outputs"] == {"fps": 7, "note": "none"}


def test_who_decided_is_the_account_unless_somebody_says_otherwise(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("asks")
    decided = json.loads(agentflow("reject", run_id, "--later", "--json").out)
    assert (decided["by"], decided["decision"]) == (getpass.getuser(), "reject")


def test_of_several_that_wait_one_is_named_by_its_step_or_id(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("asks_twice")
    listed = agentflow("approvals", run_id).out
    assert f"agentflow approve {run_id} --approval each[0]/ask" in listed
    assert f"agentflow approve {run_id} --approval each[1]/ask" in listed
    refused = agentflow("approve", run_id)
    assert refused.code == 2
    assert "several that wait" in refused.err
    assert "(each[0]/ask)" in refused.err
    assert "--approval" in refused.err
    first, second = json.loads(agentflow("approvals", run_id, "--json").out)
    said = agentflow("approve", run_id, "--approval", first["path"], "--later")
    assert "waits for 1 more" in said.out
    assert agentflow("approve", run_id, "--approval", second["id"], "--quiet").code == 0


def test_a_budget_is_raised_by_an_answer(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("spends")
    assert "a new cap, such as usd=2" in agentflow("approvals").out
    wrong = agentflow("approve", run_id, "--answer", "dollars=2")
    assert (wrong.code, "a number for one of tokens, usd" in wrong.err) == (2, True)
    said = agentflow("approve", run_id, "--answer", "usd=2", "--json")
    usage = json.loads(said.out)["usage"]["micro_usd"]
    assert (said.code, usage["spent"], usage["cap"]) == (0, 500_000, 2_000_000)


def test_a_changed_workflow_is_refused_before_anything_is_decided(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("asks")
    file = project / "workflows.yaml"
    file.write_text(file.read_text().replace("Shall it go on?", "Shall it end?"))
    said = agentflow("approve", run_id)
    assert (said.code, "changed since" in said.err) == (2, True)
    assert json.loads(agentflow("approvals", "--json").out)[0]["decision"] is None


def test_approvals_of_a_run_that_is_not_there_name_those_that_are(project, agentflow, ask_to_decide):
    run_id = ask_to_decide("asks")
    said = agentflow("approvals", "nosuch")
    assert (said.code, run_id in said.err) == (2, True)
    assert agentflow("approvals", "last").out.startswith(f"? {run_id}  ask")
