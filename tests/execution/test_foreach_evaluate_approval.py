"""Steps over lists, choices with gates and loops, and decisions of people."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from agentflow.core.errors import ApprovalExpiredError, InvalidInputError

WORK = """
import random

@tool(estimate=fine)
async def work(n: int) -> dict[str, Any]:
    note(f"work:{n}")
    if n < 0:
        raise ValueError(f"{n} is negative")
    return {"n": n * 10}


@tool(estimate=fine)
async def meet(n: int, of: int) -> dict[str, Any]:
    here = meet.__dict__.setdefault("here", [])
    full = meet.__dict__.setdefault("full", asyncio.Event())
    here.append(n)
    if len(here) == of:
        full.set()
    await asyncio.wait_for(full.wait(), 20)
    return {"n": n}


@tool(estimate=fine)
def roll(*, call: Call) -> dict[str, Any]:
    note("roll")
    return {"values": [len(LOG.read_text().split()), 0]}
"""
SIZE = """
@scorer(lower_is_better=False)
def size(subject: Subject) -> Score:
    value = subject.value if isinstance(subject.value, (int, float)) else subject.value["n"]
    if value == 999:
        return Score.unscored("too odd")
    return Score(value=float("nan") if value == 666 else float(value))
"""


def foreach(items: list[int], options: str = "") -> str:
    return f'- {{id: each, foreach: {{in: "{items}", as: n{options}}}, use: t.work, with: {{n: "${{{{ n }}}}"}}}}\n'


def test_items_run_side_by_side_and_keep_the_order_of_the_list(run: Any) -> None:
    result = run(
        '- {id: each, foreach: {in: "[3, 1, 2]", as: n, max_parallel: 3}, use: t.meet,'
        ' with: {n: "${{ n }}", of: 3}}\n',
        tools=WORK,
    )
    assert result.status == "succeeded", result.error
    assert [r["output"]["n"] for r in result.steps["each"]["results"]] == [3, 1, 2]
    assert [r["index"] for r in result.steps["each"]["results"]] == [0, 1, 2]
    assert result.steps["each"]["output"] == {"count": 3, "ok": 3}


def test_one_item_that_fails_ends_none_of_its_siblings_and_can_be_seen(run: Any, bench: Any) -> None:
    result = run(foreach([1, -2, 3], ", max_parallel: 3, on_error: collect"), tools=WORK)
    assert result.status == "succeeded"
    assert sorted(bench.calls) == ["work:-2", "work:1", "work:3"]
    results = result.steps["each"]["results"]
    assert [r["ok"] for r in results] == [True, False, True]
    assert results[1]["error"] == "step 'each[1]' failed: ValueError: -2 is negative"


@pytest.mark.parametrize(
    ("options", "items", "message"),
    [
        ("", [1, -2, 3], "step 'each': 1 of 3 items failed; item 1: step 'each[1]' failed: ValueError"),
        (", on_error: collect", [-1, -2], "step 'each': 2 of 2 items failed; item 0:"),
        (", on_error: collect, min_success: 2", [1, -2], "step 'each': 1 of 2 items failed; item 1:"),
        (
            ", on_error: collect, min_success: 2",
            [1],
            "step 'each': foreach.in: found 1 items; allowed: 2 or more",
        ),
    ],
)
def test_too_many_failed_items_fail_the_step_after_all_have_run(
    run: Any, bench: Any, options: str, items: list[int], message: str
) -> None:
    result = run(foreach(items, options), tools=WORK)
    assert result.status == "failed"
    assert str(result.error).startswith(message)
    assert len(bench.calls) == len(items)
    assert [r["ok"] for r in result.steps["each"]["results"]] == [n > 0 for n in items]


def test_an_empty_list_is_no_failure(run: Any) -> None:
    result = run(foreach([], ", on_error: collect"), tools=WORK)
    assert (result.status, result.steps["each"]["results"]) == ("succeeded", [])


def test_a_foreach_over_something_else_says_so(run: Any) -> None:
    result = run(
        "- {id: one, use: t.work, with: {n: 1}}\n"
        '- {id: each, foreach: {in: steps.one.output.n, as: n}, use: t.work, with: {n: "${{ n }}"}}\n',
        tools=WORK,
    )
    assert str(result.error) == "step 'each': foreach.in: found int; allowed: a list."


def test_the_best_is_selected_and_what_failed_or_has_no_score_is_left_out(run: Any, bench: Any) -> None:
    result = run(
        foreach([1, -2, 3], ", on_error: collect")
        + "- {id: best, evaluate: {over: steps.each.results, scorers: {size: s.size}, select: {by: size, top: 2},"
        ' gate: "best.size >= 30.0"}}\n'
        "- {id: rest, evaluate: {over: '[5, 999, 666, 7]', scorers: {size: s.size}, select: {by: -size}}}\n",
        tools=WORK,
        evals=SIZE,
    )
    assert result.status == "succeeded", result.error
    best = result.steps["best"]["output"]
    assert best["best"] == {"n": 30, "index": 2, "size": 30.0}
    assert [row["size"] for row in best["selected"]] == [30.0, 10.0]
    assert best["unscored"] == ["item 1: step 'each[1]' failed: ValueError: -2 is negative"]
    rest = result.steps["rest"]["output"]
    assert rest["best"]["size"] == 5.0
    assert rest["unscored"] == [
        "item 1: size: too odd",
        "item 2: size: the scorer gave nan, which is no measure",
    ]
    scores = bench.opened[0].workshop.store.scores(result.run_id)
    assert [(s.scorer, s.step, s.score.value) for s in scores if s.step.startswith("best")] == [
        ("s.size", "best[0]", 10.0),
        ("s.size", "best[2]", 30.0),
    ]


def test_a_list_without_anything_to_score_says_why(run: Any) -> None:
    step = "- {id: best, evaluate: {over: '[999]', scorers: {size: s.size}}}\n"
    result = run(step, evals=SIZE)
    assert str(result.error) == "step 'best' failed: nothing could be scored: item 0: size: too odd"


LOOP = """
- {id: before, use: t.work, with: {n: 1}}
- {id: roll, use: t.roll}
- id: best
  evaluate:
    over: steps.roll.output.values
    scorers: {size: s.size}
    select: {by: size}
    gate: best.size >= %s
    on_gate_fail: {goto: roll, max_loops: 2}
- {id: after, use: t.work, with: {n: 2}}
"""


def test_a_gate_that_fails_sends_the_run_back_and_the_step_is_called_anew(run: Any, bench: Any) -> None:
    result = run(LOOP % "3.0", tools=WORK, evals=SIZE)
    assert result.status == "succeeded", result.error
    assert bench.calls == ["work:1", "roll", "roll", "work:2"]
    assert result.steps["best"]["output"]["best"]["size"] == 3.0
    flow = bench.opened[0]
    rolls = [
        (r.iteration, r.envelope.status) for r in flow.workshop.store.steps(result.run_id) if r.path == "best"
    ]
    assert rolls == [("0", "failed"), ("1", "ok")]
    assert len(flow.workshop.store.scores(result.run_id)) == 4  # those of the failed pass as well


def test_a_gate_that_never_holds_fails_the_step_after_its_loops(run: Any, bench: Any) -> None:
    result = run(LOOP % "90.0", tools=WORK, evals=SIZE)
    assert result.status == "failed"
    assert bench.calls == ["work:1", "roll", "roll", "roll"]
    assert str(result.error) == (
        "step 'best': the gate `best.size >= 90.0` does not hold for the best of pass 3 (size 4). "
        "Ask for something easier, allow more loops (`max_loops`), or loosen the gate."
    )
    assert result.error.kind == "GateFailed"


ASK = """
- {id: first, use: t.work, with: {n: 1}}
- {id: ok, if: %s, approval: {message: "Go on with ${{ steps.first.output.n }}?", show: [steps.first.output]%s}}
- {id: last, use: t.work, with: {n: 2}}
"""


def test_a_run_waits_for_a_person_and_repeats_nothing_after_the_decision(run: Any, bench: Any) -> None:
    waiting = run(ASK % ("1 < 2", ""), tools=WORK)
    flow = bench.opened[0]
    assert (waiting.status, bench.calls) == ("waiting", ["work:1"])
    assert waiting.questions[0].message == "Go on with 10?"
    assert waiting.questions[0].shown == {"steps.first.output": {"n": 10}}
    assert flow.get(waiting.run_id).status == "waiting"
    done = flow.decide(waiting.run_id, "approve", by="Ada", comment="fine")
    assert (done.status, bench.calls) == ("succeeded", ["work:1", "work:2"])
    assert done.steps["ok"]["output"] == {
        "decision": "approve", "by": "Ada", "comment": "fine", "answers": {}, "digest": waiting.questions[0].digest,
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match="status 'succeeded'; allowed: a run that waits"):
        flow.decide(waiting.run_id, "approve", by="Ada")


def test_a_decision_can_be_taken_by_another_process_with_the_file_opened_again(run: Any, bench: Any) -> None:
    waiting = run(ASK % ("1 < 2", ""), tools=WORK)
    bench.opened[0].close()
    done = bench.open().decide(waiting.run_id, "approve", by="Bob")
    assert (done.status, bench.calls) == ("succeeded", ["work:1", "work:2"])


def test_a_rejection_ends_the_run_as_refused_with_who_and_why(run: Any, bench: Any) -> None:
    waiting = run(ASK % ("1 < 2", ""), tools=WORK)
    done = bench.opened[0].decide(waiting.run_id, "reject", by="Ada", comment="too risky")
    assert (done.status, bench.calls) == ("refused", ["work:1"])
    assert str(done.error) == "guardrail 'approval ok' at resume blocked: rejected by Ada: too risky"


def test_an_approval_whose_condition_is_false_asks_nobody(run: Any, bench: Any) -> None:
    result = run(ASK % ("1 > 2", ""), tools=WORK)
    assert (result.status, bench.calls) == ("succeeded", ["work:1", "work:2"])
    assert result.steps["ok"]["skipped"] is True


def test_only_the_two_decisions_exist_and_a_waiting_run_needs_one(run: Any, bench: Any) -> None:
    waiting = run(ASK % ("1 < 2", ""), tools=WORK)
    flow = bench.opened[0]
    with pytest.raises(InvalidInputError, match="'yes'; allowed: approve or reject"):
        flow.decide(waiting.run_id, "yes", by="Ada")
    assert flow.resume(waiting.run_id).status == "waiting"
    assert flow.get(waiting.run_id).status == "waiting"


@pytest.mark.parametrize(("word", "status"), [("reject", "refused"), ("approve", "succeeded")])
def test_a_decision_that_comes_too_late_counts_as_the_file_says(
    run: Any, bench: Any, word: str, status: str
) -> None:
    waiting = run(ASK % ("1 < 2", f", timeout: 24h, on_timeout: {word}"), tools=WORK)
    with bench.flow.workshop.store.transaction() as connection:
        connection.execute(text("UPDATE approvals SET expires_ms = 1"))
    other = "approve" if word == "reject" else "reject"
    with pytest.raises(ApprovalExpiredError):
        bench.opened[0].decide(waiting.run_id, other, by="Ada")
    done = bench.opened[0].resume(waiting.run_id)
    assert done.status == status
    if word == "reject":
        assert "rejected by timeout: nobody decided in time" in str(done.error)


def test_a_run_does_not_go_on_with_a_workflow_that_has_changed(run: Any, bench: Any) -> None:
    waiting = run(ASK % ("1 < 2", ""), tools=WORK)
    bench.opened[0].close()
    file = bench.root / "workflows.yaml"
    file.write_text(file.read_text().replace("n: 2", "n: 3"))
    with pytest.raises(InvalidInputError, match="a workflow that has changed since"):
        bench.open().decide(waiting.run_id, "approve", by="Ada")
    assert bench.calls == ["work:1"]


def test_a_run_that_failed_goes_on_at_the_step_that_failed_in_its_own_pass(run: Any, bench: Any) -> None:
    broken = """
    @tool(estimate=fine)
    def mend(n: int) -> dict[str, Any]:
        note("mend")
        if not (LOG.parent / "mended").exists():
            raise ValueError("broken")
        return {}
    """
    from textwrap import dedent

    steps = (LOOP % "3.0").replace("t.work, with: {n: 2}", "t.mend, with: {n: 2}")
    failed = run(steps, tools=WORK + dedent(broken), evals=SIZE)
    assert (failed.status, bench.calls) == ("failed", ["work:1", "roll", "roll", "mend"])
    (bench.root / "mended").touch()
    done = bench.opened[0].resume(failed.run_id)
    assert (done.status, bench.calls[4:]) == ("succeeded", ["mend"])
    with pytest.raises(InvalidInputError, match="status 'succeeded'"):
        bench.opened[0].resume(failed.run_id)


def test_state_holds_json_and_references_only(run: Any, bench: Any) -> None:
    result = run(
        "- {id: file, use: t.write}\n" + foreach([1, 2], ""),
        tools=WORK
        + """
@tool(estimate=fine)
def write(*, call: Call) -> dict[str, Any]:
    return {"kept": call.artifacts.put(b"x" * 500_000, "application/octet-stream", "big.bin")}
""",
    )
    assert result.status == "succeeded", result.error
    kept = result.steps["file"]["output"]["kept"]
    assert kept["artifact"].startswith("artifact:")
    assert json.loads(json.dumps(result.steps, default=list)) == result.steps
    checkpoint = bench.opened[0].workshop.store.get_checkpoint(result.run_id)
    assert (checkpoint.kind, len(checkpoint.data) < 2_000) == ("msgpack", True)
    (artifact,) = bench.opened[0].workshop.store.artifacts(result.run_id)
    assert (artifact.uri, artifact.bytes) == (kept["artifact"], 500_000)
