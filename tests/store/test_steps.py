"""Finished steps are found by place and by cache key, and taken over into another run."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow.core.amounts import Amounts
from agentflow.core.errors import LeaseLostError
from agentflow.core.records import (
    Artifact,
    Envelope,
    GuardAction,
    GuardRecord,
    Score,
    ScoreRecord,
    StepStatus,
    VerdictType,
)
from agentflow.store.store import Store, now_ms, step_key

VIDEO = Artifact(digest="a" * 64, media_type="video/mp4", bytes=7, name="plan.mp4")
PAID = Envelope(
    status=StepStatus.OK,
    output={"distance_m": 0.012},
    usage=Amounts(tokens=10, gpu_ms=30),
    attempts=2,
    verdicts=[
        GuardRecord(
            guardrail="keep_out",
            hook="action",
            step="simulate",
            verdict=VerdictType.ALLOW,
            action=GuardAction.ALLOW,
        )
    ],
    scores=[ScoreRecord(scorer="goal", step="simulate", score=Score(value=0.012))],
    artifacts=[VIDEO],
)


def record(
    store: Store, path: str, envelope: Envelope = PAID, *, run: str = "r1", digest: str = "d", **more: Any
) -> None:
    iteration = more.pop("iteration", "")
    assert store.record_step(run, path, iteration, digest, envelope, started_ms=now_ms(), **more)


def paths(store: Store, run: str) -> list[str]:
    return sorted(step.path for step in store.steps(run))


def test_a_step_is_found_by_its_place_whatever_its_inputs_were(store: Store) -> None:
    record(store, "plan", PAID.model_copy(update={"output": 1}), iteration="0")
    record(store, "plan", PAID.model_copy(update={"output": 2}), iteration="1", digest="other")
    assert found(store, "r1", "plan", "0").output == 1
    assert found(store, "r1", "plan", "1").output == 2
    for place in (("r2", "plan", "0"), ("r1", "pla", "0"), ("r1", "plan", "")):
        assert store.find_step_at(*place) is None


def test_the_newest_good_outcome_of_a_cache_key_is_found_over_all_runs(store: Store) -> None:
    assert store.find_cached("k") is None
    record(store, "plan", PAID.model_copy(update={"output": "first"}), run="r1", cache_key="k")
    later = PAID.model_copy(update={"output": "later"})
    with store.transaction() as transaction:
        store.record_step("r2", "p", "", "d", later, started_ms=0, cache_key="k", transaction=transaction)
        transaction.exec_driver_sql("UPDATE steps SET ended_ms = ended_ms + 1000 WHERE run_id = 'r2'")
    for run, status in (("r3", StepStatus.FAILED), ("r4", StepStatus.DEGRADED), ("r5", StepStatus.CALLED)):
        record(store, "plan", Envelope(status=status, output="no"), run=run, cache_key="k")
    record(store, "plan", PAID.model_copy(update={"output": "without a key"}), run="r6")
    assert store.find_cached("k") == later


def test_a_step_that_was_called_is_cached_once_it_is_finished(store: Store) -> None:
    record(store, "plan", PAID.model_copy(update={"status": StepStatus.CALLED}), cache_key="k")
    assert store.find_cached("k") is None
    record(store, "plan", PAID, cache_key="k")
    assert store.find_cached("k") == PAID


def found(store: Store, run_id: str, path: str, iteration: str) -> Envelope:
    place = store.find_step_at(run_id, path, iteration)
    assert place is not None
    return place[1]


def test_outer_steps_are_those_that_are_no_item_and_no_agents_call(store: Store) -> None:
    for path in (
        "plan",
        "each[0]",
        "each[1]",
        "each",
        "agent/chat[1]",
        "within/plan",
        "agent",
        "each[2]/plan",
    ):
        record(store, path)
    assert sorted(step.path for step in store.outer_steps("r1")) == ["agent", "each", "plan", "within/plan"]
    assert {step.key for step in store.outer_steps("r1")} < {step.key for step in store.steps("r1")}
    assert store.outer_steps("r2") == []


def test_steps_are_taken_over_with_their_items_and_inner_calls_and_cost_nothing(store: Store) -> None:
    for path in ("plan", "plan[0]", "plan[0]/propose", "plan/score", "Plan", "planet", "other[0]", "render"):
        record(store, path, iteration="1", cache_key=path)
    assert store.copy_steps("r1", "r2", ["plan", "render", "none"]) == 5

    assert paths(store, "r2") == sorted(["plan", "plan[0]", "plan[0]/propose", "plan/score", "render"])
    reused = PAID.model_copy(update={"usage": Amounts(), "reused": True})
    assert store.find_step(step_key("r2", "plan[0]", "1", "d")) == reused
    assert found(store, "r2", "render", "1") == reused
    assert store.verdicts("r2") == PAID.verdicts * 5
    assert store.scores("r2") == PAID.scores * 5
    assert store.artifacts("r2") == [VIDEO] * 5
    assert found(store, "r1", "plan", "1") == PAID
    assert store.find_cached("plan") == PAID


def test_what_is_not_final_is_not_taken_over_and_what_stands_stays(store: Store) -> None:
    for path, status in (("a", StepStatus.FAILED), ("b", StepStatus.CALLED), ("c", StepStatus.SKIPPED)):
        record(store, path, Envelope(status=status))
    record(store, "d")
    own = PAID.model_copy(update={"output": "its own"})
    record(store, "d", own, run="r2")
    assert store.copy_steps("r1", "r2", "abcd") == 1
    assert paths(store, "r2") == ["c", "d"]
    assert found(store, "r2", "d", "") == own
    assert store.copy_steps("r1", "r2", "abcd") == 0


def test_a_process_that_lost_its_run_takes_nothing_over(store: Store) -> None:
    record(store, "plan")
    store.create_run("r2", "w", "d", {}, claim=False)
    lost = store.claim_run("r2", ttl_ms=0)
    store.claim_run("r2")
    with pytest.raises(LeaseLostError):
        store.copy_steps("r1", "r2", ["plan"], lease=lost)
    assert store.steps("r2") == []


def test_an_envelope_of_an_earlier_version_was_not_reused() -> None:
    old = PAID.model_dump(exclude={"reused"})
    assert Envelope.model_validate(old) == PAID
