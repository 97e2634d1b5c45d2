"""The manifest claims only what ran."""

from __future__ import annotations

from typing import Any

from agentflow.core.records import GuardAction, GuardRecord, Hook, Subject, Verdict, VerdictType
from agentflow.core.registry import GuardrailSpec, guardrail
from agentflow.guard.engine import Guard
from agentflow.guard.manifest import manifest


@guardrail(hooks=["action", "output"])
def look(subject: Subject, zone: str = "") -> Verdict:
    """Look."""
    return Verdict.allow()


def _spec(function: Any) -> GuardrailSpec:
    spec: GuardrailSpec = function.__agentflow_spec__
    return spec


def guard(*hooks: Hook, **params: Any) -> Guard:
    return Guard(_spec(look), hooks, params)


def record(step: str, status: str = "ran", hook: str = "action") -> GuardRecord:
    return GuardRecord(
        guardrail="look",
        hook=hook,
        step=step,
        verdict=VerdictType.ALLOW,
        action=GuardAction.ALLOW,
        status=status,
    )


def test_a_guardrail_is_effective_where_it_judged_and_nowhere_else() -> None:
    found = manifest([("", guard(Hook.ACTION, Hook.OUTPUT))], [record("a"), record("b[1]")])
    assert (found["requested"], found["effective"]) == (2, 1)
    action, output = found["guardrails"]
    assert (action["hook"], action["ran"], action["effective"], action["verdicts"]) == (
        "action", 2, True, {"allow": 2},
    )  # fmt: skip
    assert (output["hook"], output["ran"], output["effective"]) == ("output", 0, False)


def test_a_guardrail_of_one_step_is_not_made_effective_by_another() -> None:
    guards = [("a", guard(Hook.ACTION)), ("b", guard(Hook.ACTION)), ("ab", guard(Hook.ACTION))]
    found = manifest(guards, [record("a[0]"), record("a/predict[1]"), record("abc")])
    assert [(row["step"], row["ran"]) for row in found["guardrails"]] == [("a", 2), ("b", 0), ("ab", 0)]


def test_a_guardrail_that_never_could_judge_is_not_effective() -> None:
    (row,) = manifest([("", guard(Hook.ACTION))], [record("a", "error"), record("b", "timeout")])[
        "guardrails"
    ]
    assert (row["ran"], row["failed_to_judge"], row["effective"]) == (2, 2, False)


def test_two_rules_of_one_guardrail_have_digests_of_their_own() -> None:
    rows = manifest([("", guard(Hook.ACTION, zone=zone)) for zone in ("a", "b")], [])["guardrails"]
    assert rows[0]["rule_digest"] != rows[1]["rule_digest"]
