"""What the engine lets through, and how it treats guardrails that cannot judge."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from agentflow.core.records import GuardAction, Hook, Subject, Verdict
from agentflow.core.registry import GuardrailSpec, guardrail
from agentflow.execution import values
from agentflow.guard.engine import Checked, Guard, GuardEngine

HOOK = Hook.TOOL_ARGS


def engine(*guards: Guard, seconds: float = 10.0) -> GuardEngine:
    return GuardEngine(guards, values.digest, check_seconds=seconds)


def _spec(function: Any) -> GuardrailSpec:
    spec: GuardrailSpec = function.__agentflow_spec__
    return spec


def guard(function: Any, on_fail: str = "block", **options: Any) -> Guard:
    decorated = guardrail(hooks=["tool_args"])(function)
    return Guard(_spec(decorated), (HOOK,), on_fail=GuardAction(on_fail), **options)


def check(made: GuardEngine, value: Any, hook: Hook = HOOK) -> Checked:
    return asyncio.run(made.check(hook, value, step="s"))


def explode(subject: Subject) -> Verdict:
    raise KeyError("gone")


def garbage(subject: Subject) -> Any:
    return True


async def hang(subject: Subject) -> Verdict:
    await asyncio.Event().wait()
    return Verdict.allow()


def nonsense(subject: Subject) -> Verdict:
    return Verdict.modify({"a": float("nan")}, "better")


CANNOT = [
    (explode, "error", "it could not judge: KeyError: 'gone'"),
    (garbage, "error", "it could not judge: TypeError: returned bool, not a Verdict"),
    (hang, "timeout", "it did not judge within 0.05 s"),
    (nonsense, "error", "it could not judge: InvalidInputError: a step's value.a: found nan"),
]


@pytest.mark.parametrize(("function", "status", "reason"), CANNOT)
def test_a_guardrail_that_cannot_judge_blocks(function: Any, status: str, reason: str) -> None:
    checked = check(engine(guard(function, "rewrite"), seconds=0.05), {"a": 1})
    assert checked.blocked is not None
    assert (checked.blocked.status, checked.blocked.action) == (status, "block")
    assert checked.blocked.reason.startswith(reason)


@pytest.mark.parametrize(("function", "status", "reason"), CANNOT)
def test_where_the_file_says_open_it_lets_pass_and_says_that_it_did_not_judge(
    function: Any, status: str, reason: str
) -> None:
    checked = check(engine(guard(function, "rewrite", open_on_error=True), seconds=0.05), {"a": 1})
    assert (checked.blocked, checked.value) == (None, {"a": 1})
    (record,) = checked.records
    assert (record.status, record.action) == (status, "allow")


def test_a_blocking_verdict_ends_the_checks_of_its_hook() -> None:
    seen: list[str] = []

    def no(subject: Subject) -> Verdict:
        seen.append("no")
        return Verdict.deny("no")

    def later(subject: Subject) -> Verdict:
        seen.append("later")
        return Verdict.allow()

    checked = check(engine(guard(no), guard(later)), 1)
    assert (seen, len(checked.records)) == (["no"], 1)


@pytest.mark.parametrize(
    ("verdict", "on_fail", "action"),
    [
        (Verdict.allow(), "block", "allow"),
        (Verdict.warn("hm"), "block", "allow"),
        (Verdict.deny("no"), "block", "block"),
        (Verdict.deny("no"), "allow", "allow"),
        (Verdict.deny("no"), "rewrite", "block"),
        (Verdict.deny("no"), "degrade", "block"),
        (Verdict.deny("no"), "escalate", "escalate"),
        (Verdict.escalate("who knows"), "allow", "escalate"),
        (Verdict.modify({"a": 2}, "less"), "block", "block"),
    ],
)
def test_what_is_done_follows_from_the_verdict_and_the_file(
    verdict: Verdict, on_fail: str, action: str
) -> None:
    checked = check(engine(guard(lambda subject: verdict, on_fail)), {"a": 1})
    assert checked.records[0].action == action
    assert (checked.blocked is not None) == (action in ("block", "escalate"))
    assert checked.value == {"a": 1}


@pytest.mark.parametrize("on_fail", ["rewrite", "redact", "degrade"])
def test_a_change_is_checked_again_by_all_and_the_last_records_carry_its_digest(on_fail: str) -> None:
    def small(subject: Subject) -> Verdict:
        a = subject.value["a"]
        return Verdict.allow() if a <= 2 else Verdict.modify({"a": 2}, f"{a} is too much")

    seen: list[int] = []

    def watch(subject: Subject) -> Verdict:
        seen.append(subject.value["a"])
        return Verdict.allow()

    checked = check(engine(guard(watch), guard(small, on_fail)), {"a": 5})
    assert (checked.blocked, checked.value, seen) == (None, {"a": 2}, [5, 2])
    assert checked.digest == values.digest({"a": 2})
    assert [r.subject_digest for r in checked.records[-2:]] == [checked.digest] * 2
    assert checked.rungs == (["5 is too much"] if on_fail == "degrade" else [])


def test_a_value_that_keeps_changing_is_blocked() -> None:
    def more(subject: Subject) -> Verdict:
        return Verdict.modify({"a": subject.value["a"] + 1}, "one more")

    checked = check(engine(guard(more, "rewrite")), {"a": 0})
    assert checked.blocked is not None
    assert checked.blocked.reason == "still not right after a change: one more"


def test_a_guardrail_sees_a_copy() -> None:
    def sneak(subject: Subject) -> Verdict:
        subject.value["a"].append("x")
        return Verdict.allow()

    value: dict[str, Any] = {"a": []}
    assert check(engine(guard(sneak)), value).value == {"a": []}
    assert value == {"a": []}


def test_a_guardrail_that_computes_holds_up_nobody_else() -> None:
    """Both wait for each other, so both must be at work at the same time."""
    together = threading.Barrier(2, timeout=20)

    def meet(subject: Subject) -> Verdict:
        together.wait()
        return Verdict.allow()

    async def both() -> list[Checked]:
        made = engine(guard(meet), seconds=30)
        return await asyncio.gather(made.check(HOOK, 1), made.check(HOOK, 2))

    assert [checked.blocked for checked in asyncio.run(both())] == [None, None]


def test_a_hook_without_guardrails_changes_and_records_nothing() -> None:
    checked = check(engine(guard(explode)), {"a": 1}, Hook.OUTPUT)
    assert (checked.value, checked.records, checked.blocked) == ({"a": 1}, [], None)
