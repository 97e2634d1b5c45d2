"""Approvals that wait durably: several at once, decided once, of exactly what was shown."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agentflow.core.errors import AgentflowError, InvalidInputError

ASK = '- {id: ask, approval: {message: "Pay ${{ inputs.n }}?", show: [inputs.n]}}\n- {id: pay, use: t.pay}\n'
PAY = """
@tool(estimate=fine)
async def pay(n: int = 1) -> dict[str, Any]:
    note(f"pay:{n}")
    return {"n": n}
"""
HEAD = "inputs: {n: {type: integer, default: 7}}\n"


def waiting(bench: Any, steps: str = ASK, head: str = HEAD, **parts: str) -> tuple[Any, Any]:
    bench.write(steps, head=head, tools=PAY, **parts)
    flow = bench.open()
    result = flow.run("work")
    assert result.status == "waiting", result.error
    return flow, result


def test_what_is_asked_stands_in_the_store_and_any_process_can_answer(bench: Any) -> None:
    _, result = waiting(bench)
    (asked,) = bench.open().approvals()
    assert (asked.run_id, asked.path, asked.message, asked.shown) == (
        result.run_id,
        "ask",
        "Pay 7?",
        {"inputs.n": 7},
    )
    flow = bench.open()
    done = flow.decide(result.run_id, "approve", by="ann", comment="fine")
    assert (done.status, bench.calls) == ("succeeded", ["pay:1"])
    assert done.steps["ask"]["output"]["by"] == "ann"
    (record,) = flow.approvals(open_only=False)
    assert (record.decision, record.by, record.comment, record.digest) == (
        "approve",
        "ann",
        "fine",
        asked.digest,
    )


def test_one_decision_counts_and_the_second_one_hears_whose_it_was(bench: Any) -> None:
    _, result = waiting(bench)
    flows = [bench.open() for _ in range(4)]
    said: list[str] = []
    barrier = threading.Barrier(len(flows))

    def answer(index: int) -> None:
        barrier.wait()
        try:
            flows[index].record_decision(result.run_id, "approve", by=f"p{index}")
            said.append("ok")
        except AgentflowError as error:
            said.append(error.kind)

    threads = [threading.Thread(target=answer, args=(index,)) for index in range(len(flows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(said) == ["AlreadyDecided", "AlreadyDecided", "AlreadyDecided", "ok"] or (
        said.count("ok") == 1 and set(said) <= {"ok", "AlreadyDecided", "InvalidInput"}
    )
    assert bench.open().resume(result.run_id).status == "succeeded"
    assert bench.calls == ["pay:1"]


def test_a_rejection_ends_the_run_as_refused(bench: Any) -> None:
    flow, result = waiting(bench)
    done = flow.decide(result.run_id, "reject", by="bob", comment="too much")
    assert (done.status, str(done.error)) == (
        "refused", "guardrail 'approval ask' at resume blocked: rejected by bob: too much",
    )  # fmt: skip
    assert bench.calls == []


def test_a_run_looks_again_and_waits_on_while_nobody_has_decided(bench: Any) -> None:
    flow, result = waiting(bench)
    assert flow.resume(result.run_id).status == "waiting"
    assert len(flow.approvals(open_only=False)) == 1


def test_items_ask_side_by_side_and_each_is_decided_on_its_own(bench: Any) -> None:
    bench.write(
        "- id: each\n  foreach: {in: '[1, 2, 3]', as: n, max_parallel: 3, on_error: collect}\n"
        '  workflow: one\n  with: {n: "${{ n }}"}\n',
        tools=PAY,
    )
    file = Path(bench.root) / "workflows.yaml"
    file.write_text(
        file.read_text() + "  one:\n    inputs: {n: {type: integer}}\n    steps:\n"
        '      - {id: before, use: t.pay, with: {n: "${{ 10 * inputs.n }}"}}\n'
        '      - {id: ask, approval: {message: "Pay ${{ inputs.n }}?", show: [inputs.n]}}\n'
        '      - {id: pay, use: t.pay, with: {n: "${{ inputs.n }}"}}\n'
        '    outputs: {n: "${{ steps.pay.output.n }}"}\n'
    )
    flow = bench.open()
    result = flow.run("work")
    assert [q.path for q in result.questions] == ["each[0]/ask", "each[1]/ask", "each[2]/ask"], result.error
    with pytest.raises(InvalidInputError, match=r"several that wait.*each\[0\]/ask"):
        flow.decide(result.run_id, "approve", by="ann")
    still = flow.decide(result.run_id, "approve", by="ann", approval="each[1]/ask")
    assert (still.status, [q.path for q in still.questions]) == ("waiting", ["each[0]/ask", "each[2]/ask"])
    assert bench.calls == ["pay:10", "pay:20", "pay:30", "pay:2"]
    flow.decide(result.run_id, "reject", by="ann", approval="each[0]/ask")
    done = bench.open().decide(result.run_id, "approve", by="bob")
    assert done.status == "succeeded", done.error
    assert [r["output"] for r in done.steps["each"]["results"]] == [None, {"n": 2}, {"n": 3}]
    assert bench.calls == ["pay:10", "pay:20", "pay:30", "pay:2", "pay:3"]


def test_what_is_shown_cannot_be_changed_behind_the_deciders_back(bench: Any) -> None:
    flow, result = waiting(bench)
    flow.record_decision(result.run_id, "approve", by="ann")
    with flow.workshop.store.transaction() as connection:
        standing = connection.execute(text("SELECT envelope FROM steps WHERE path = 'input'")).scalar_one()
        other = json.loads(standing)
        other["output"]["n"] = 7000
        changed = {"envelope": json.dumps(other)}
        connection.execute(text("UPDATE steps SET envelope = :envelope WHERE path = 'input'"), changed)
    flow.close()
    done = bench.open().resume(result.run_id)
    assert done.status == "failed"
    assert "changed" in str(done.error)
    assert bench.calls == []


def test_a_changed_file_is_refused_before_anything_is_decided(bench: Any) -> None:
    flow, result = waiting(bench)
    file = Path(bench.root) / "workflows.yaml"
    file.write_text(file.read_text().replace("Pay $", "Really pay $"))
    with pytest.raises(InvalidInputError, match="changed since"):
        bench.open().decide(result.run_id, "approve", by="ann")
    assert flow.approvals()[0].decision is None


def test_nobody_in_time_is_a_decision_of_the_files(bench: Any) -> None:
    bench.write(
        ASK.replace("show: [inputs.n]", "show: [inputs.n], timeout: 0.0, on_timeout: approve"),
        head=HEAD,
        tools=PAY,
    )
    done = bench.open().run("work")
    assert (done.status, done.steps["ask"]["output"]["by"]) == ("succeeded", "timeout"), done.error


BUDGET = "budget: {tokens: 5, on_exhausted: pause}\n"
COSTLY = """
@tool(estimate=lambda n=1: Amounts(tokens=4))
async def pay(n: int = 1, *, call: Call) -> dict[str, Any]:
    note(f"pay:{n}")
    call.meter.charge(Amounts(tokens=4))
    return {"n": n}
"""


def test_a_used_up_budget_asks_a_person_who_may_raise_it(bench: Any) -> None:
    bench.write("- {id: a, use: t.pay}\n- {id: b, use: t.pay, with: {n: 2}}\n", head=BUDGET, tools=COSTLY)
    flow = bench.open()
    result = flow.run("work")
    assert (result.status, [q.kind for q in result.questions]) == ("waiting", ["budget"]), result.error
    assert result.questions[0].shown == {
        "scope": f"run:{result.run_id}", "dimension": "tokens", "requested": 4, "left": 1, "cap": 5,
    }  # fmt: skip
    done = bench.open().decide(result.run_id, "approve", by="ann", answers={"tokens": 8})
    assert (done.status, done.usage.cap.tokens, done.usage.spent.tokens) == ("succeeded", 8, 8), done.error
    assert bench.calls == ["pay:1", "pay:2"]


def test_a_budget_that_nobody_raises_ends_the_run_as_exhausted(bench: Any) -> None:
    bench.write("- {id: a, use: t.pay}\n- {id: b, use: t.pay}\n", head=BUDGET, tools=COSTLY)
    flow = bench.open()
    result = flow.run("work")
    done = flow.decide(result.run_id, "reject", by="ann")
    assert (done.status, done.error.kind, bench.calls) == ("exhausted", "BudgetExceeded", ["pay:1"])


def test_a_raise_that_is_not_enough_asks_again(bench: Any) -> None:
    bench.write(
        "- id: each\n  foreach: {in: '[1, 2, 3]', as: n, max_parallel: 3, on_error: collect}\n"
        '  use: t.pay\n  with: {n: "${{ n }}"}\n',
        head=BUDGET,
        tools=COSTLY,
    )
    flow = bench.open()
    result = flow.run("work")
    again = flow.decide(result.run_id, "approve", by="ann", answers={"tokens": 8})
    assert (again.status, len(flow.approvals(open_only=False))) == ("waiting", 2), again.error
    done = flow.decide(result.run_id, "approve", by="ann")
    assert (done.status, done.usage.spent.tokens) == ("succeeded", 12), done.error
    assert sorted(bench.calls) == ["pay:1", "pay:2", "pay:3"]


TYPED = """
- id: ask
  approval:
    message: How many?
    answers:
      count: {type: integer, minimum: 1, maximum: 9}
      note: {type: string, default: none given}
- {id: pay, use: t.pay, with: {n: "${{ steps.ask.output.answers.count }}"}}
"""


def test_answers_are_typed_and_reach_the_steps_behind(bench: Any) -> None:
    flow, result = waiting(bench, TYPED, head="")
    assert result.questions[0].answers_schema["properties"]["count"]["maximum"] == 9
    for answers, message in (
        ({}, "answer 'count': found nothing"),
        ({"count": 10}, "found 10; allowed: at most 9"),
        ({"count": "two"}, r"found 'two' \(text\); allowed: a whole number"),
        ({"count": 2, "cuont": 3}, "'cuont'"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            flow.decide(result.run_id, "approve", by="ann", answers=answers)
    done = flow.decide(result.run_id, "approve", by="ann", answers={"count": 3})
    assert (done.status, bench.calls) == ("succeeded", ["pay:3"]), done.error
    assert done.steps["ask"]["output"]["answers"] == {"count": 3, "note": "none given"}


def test_outputs_are_held_to_their_declared_types(bench: Any) -> None:
    bench.write(
        "- {id: pay, use: t.pay}\n",
        head='outputs: {n: {value: "${{ steps.pay.output.n }}", type: {type: integer, maximum: 0}}}\n',
        tools=PAY,
    )
    result = bench.open().run("work")
    assert (result.status, str(result.error)) == ("failed", "output 'n': found 1; allowed: at most 0.")


def test_what_was_spent_when_it_was_asked_may_have_grown_by_the_time_of_the_answer(bench: Any) -> None:
    bench.write(
        "- id: each\n  foreach: {in: '[1, 2]', as: n, max_parallel: 1}\n  workflow: one\n"
        '  with: {n: "${{ n }}"}\n',
        tools=COSTLY,
    )
    file = Path(bench.root) / "workflows.yaml"
    file.write_text(
        file.read_text() + "  one:\n    inputs: {n: {type: integer}}\n    steps:\n"
        '      - {id: before, use: t.pay, with: {n: "${{ inputs.n }}"}}\n'
        "      - {id: ask, approval: {message: Go on?, show: [inputs.n, run.spent.tokens]}}\n"
    )
    flow = bench.open()
    result = flow.run("work")
    assert [q.shown["run.spent.tokens"] for q in result.questions] == [4, 8]
    flow.decide(result.run_id, "approve", by="ann", approval="each[0]/ask")
    done = flow.decide(result.run_id, "approve", by="ann", approval="each[1]/ask")
    assert done.status == "succeeded", done.error
