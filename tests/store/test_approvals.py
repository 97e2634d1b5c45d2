"""A question is asked once, and decided once by whoever comes first, for exactly what was shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentflow.core.errors import (
    AlreadyDecidedError,
    ApprovalExpiredError,
    InvalidInputError,
    LeaseLostError,
    PayloadChangedError,
    UnknownNameError,
)
from agentflow.core.records import RunStatus
from agentflow.store.records import ApprovalRecord
from agentflow.store.store import Store, now_ms

LONG_AGO, FAR_OFF = 1_000, 2**42


def ask(
    store: Store, path: str = "approve", iteration: str = "", run: str = "r1", **changed: Any
) -> ApprovalRecord:
    question = {
        "kind": "approval",
        "message": "Render this plan?",
        "shown": {"steps.choose.output.best": {"goal": 0.02}},
        "digest": "d1",
        "answers_schema": {"type": "object"},
        "expires_ms": FAR_OFF,
        "on_timeout": "reject",
    }
    return store.ask(run, path, iteration, **question | changed)


@pytest.fixture(autouse=True)
def run(store: Store) -> None:
    store.create_run("r1", "w", "d", {}, claim=False)
    store.mark_run("r1", RunStatus.WAITING)


def test_a_question_reads_back_as_it_was_asked_and_shown(store: Store) -> None:
    before = now_ms()
    asked = ask(store)
    assert asked == ApprovalRecord(
        id=asked.id,
        run_id="r1",
        path="approve",
        iteration="",
        kind="approval",
        message="Render this plan?",
        shown={"steps.choose.output.best": {"goal": 0.02}},
        digest="d1",
        answers_schema={"type": "object"},
        asked=asked.asked,
        expires=asked.expires,
        on_timeout="reject",
    )
    assert asked.asked.timestamp() * 1000 >= before - 1000
    assert asked.expires.timestamp() * 1000 == FAR_OFF
    assert store.approval(asked.id) == asked
    assert store.approvals("r1") == [asked]


def test_the_same_question_asked_again_is_the_one_that_stands_decided_or_not(store: Store) -> None:
    first = ask(store)
    assert ask(store, message="Really?") == first
    decided = store.decide(first.id, "approve", by="ada")
    assert ask(store) == decided
    assert len(store.approvals("r1")) == 1


def test_a_question_that_shows_something_else_is_refused_where_one_stands(store: Store) -> None:
    asked = ask(store)
    with pytest.raises(PayloadChangedError, match="approval approve of run r1: the payload changed"):
        ask(store, digest="d2")
    store.decide(asked.id, "approve", by="ada")
    with pytest.raises(PayloadChangedError):
        ask(store, digest="d2")


def test_several_questions_wait_at_once_and_are_decided_each_by_itself(store: Store) -> None:
    store.create_run("r2", "w", "d", {}, claim=False)
    asked = [
        ask(store),
        ask(store, iteration="1"),
        ask(store, path="other"),
        ask(store, kind="budget"),
        ask(store, run="r2"),
    ]
    assert len({one.id for one in asked}) == 5
    store.decide(asked[1].id, "reject", by="ada")
    still = [one.id for one in store.approvals(open_only=True)]
    assert sorted(still) == sorted(one.id for one in asked if one is not asked[1])
    assert [one.id for one in store.approvals("r2")] == [asked[4].id]


def test_a_decision_says_who_when_why_and_what_was_answered(store: Store) -> None:
    asked = ask(store)
    decided = store.decide(
        asked.id, "approve", by="ada", comment="looks safe", answers={"speed": 0.5}, digest="d1"
    )
    assert decided == asked.model_copy(
        update={
            "decision": "approve",
            "by": "ada",
            "comment": "looks safe",
            "answers": {"speed": 0.5},
            "decided": decided.decided,
        }
    )
    assert decided.decided >= asked.asked
    assert store.approvals("r1", open_only=True) == []


def test_a_second_decision_is_refused_with_who_decided_when_and_what(store: Store) -> None:
    asked = ask(store)
    decided = store.decide(asked.id, "approve", by="ada")
    with pytest.raises(
        AlreadyDecidedError, match=rf"approval {asked.id} was decided before: 'approve' by ada on 2"
    ) as again:
        store.decide(asked.id, "reject", by="bob")
    assert again.value.decided_ms == round(decided.decided.timestamp() * 1000)
    assert store.approval(asked.id) == decided


def test_of_many_that_decide_at_once_exactly_one_does(
    store: Store, tmp_path: Path, store_url: str | None
) -> None:
    program = """
import sys
from pathlib import Path
from agentflow.core.errors import AlreadyDecidedError
from agentflow.store.store import Store
store = Store.open(Path(sys.argv[1]), sys.argv[2] or None)
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(store.decide(line.strip(), "approve", by=sys.argv[3]).by, flush=True)
    except AlreadyDecidedError as error:
        print("not", error.by, flush=True)
"""
    deciders = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / ".agentflow"), store_url or "", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("ada", "bob", "eve")
    ]
    assert [decider.stdout.readline() for decider in deciders] == ["ready\n"] * 3
    for number in range(10):
        asked = ask(store, iteration=str(number))
        for decider in deciders:
            decider.stdin.write(f"{asked.id}\n")
            decider.stdin.flush()
        said = [decider.stdout.readline().strip() for decider in deciders]
        by = store.approval(asked.id).by
        assert sorted(said) == sorted([by, f"not {by}", f"not {by}"])
    for decider in deciders:
        decider.communicate(timeout=30)


def test_a_decision_about_something_else_than_was_shown_is_refused(store: Store) -> None:
    asked = ask(store)
    with pytest.raises(PayloadChangedError, match=f"approval {asked.id}: the payload changed"):
        store.decide(asked.id, "approve", by="ada", digest="what ada saw")
    assert store.approval(asked.id) == asked


def test_an_expired_question_is_decided_by_its_timeout_and_by_nobody_else(store: Store) -> None:
    asked = ask(store, expires_ms=LONG_AGO, on_timeout="approve")
    with pytest.raises(ApprovalExpiredError, match="its time was over on 1970-01-01 00:00:01 UTC"):
        store.decide(asked.id, "reject", by="ada")
    expired = store.expire_approval(asked.id)
    assert (expired.decision, expired.by) == ("approve", "timeout")
    assert store.expire_approval(asked.id) == expired
    with pytest.raises(AlreadyDecidedError, match="by timeout"):
        store.decide(asked.id, "reject", by="ada")


@pytest.mark.parametrize(
    ("expires_ms", "found"), [(None, "no end"), (FAR_OFF, "time until 2109-05-15 07:35:11 UTC")]
)
def test_a_question_with_time_left_does_not_expire(store: Store, expires_ms: int | None, found: str) -> None:
    asked = ask(store, expires_ms=expires_ms)
    with pytest.raises(InvalidInputError, match=found):
        store.expire_approval(asked.id)
    decided = store.decide(asked.id, "approve", by="ada")
    assert store.expire_approval(asked.id) == decided


def test_an_unknown_question_or_decision_is_an_error_that_lists_the_known_ones(store: Store) -> None:
    asked = ask(store)
    with pytest.raises(UnknownNameError, match=asked.id):
        store.decide("none", "approve", by="ada")
    with pytest.raises(InvalidInputError, match="'approve' or 'reject'"):
        store.decide(asked.id, "maybe", by="ada")
    with pytest.raises(InvalidInputError, match="'approve' or 'reject'"):
        ask(store, path="other", on_timeout="wait")


def test_a_run_that_has_ended_wants_no_decision(store: Store) -> None:
    asked = ask(store)
    store.finish_run("r1", RunStatus.CANCELLED)
    assert store.approvals(open_only=True) == []
    assert store.approvals("r1") == [asked]
    with pytest.raises(InvalidInputError, match=r"run r1, which has ended \(cancelled\)"):
        store.decide(asked.id, "approve", by="ada")


def test_a_process_that_lost_its_run_asks_nothing(store: Store) -> None:
    store.create_run("r2", "w", "d", {}, claim=False)
    lost = store.claim_run("r2", ttl_ms=0)
    store.claim_run("r2")
    with pytest.raises(LeaseLostError):
        ask(store, run="r2", lease=lost)
    assert store.approvals("r2") == []


def test_a_waiting_run_is_claimable_once_all_is_decided_or_one_time_is_over(store: Store) -> None:
    first, second = ask(store), ask(store, path="other")
    assert store.claimable_runs() == []
    store.decide(first.id, "approve", by="ada")
    assert store.claimable_runs() == []
    store.decide(second.id, "reject", by="ada")
    assert store.claimable_runs() == ["r1"]

    store.create_run("r2", "w", "d", {}, claim=False)
    store.mark_run("r2", RunStatus.WAITING)
    ask(store, run="r2")
    assert store.claimable_runs() == ["r1"]
    ask(store, run="r2", path="other", expires_ms=LONG_AGO)
    assert store.claimable_runs() == ["r1", "r2"]


def test_a_waiting_run_that_somebody_asked_to_end_is_claimable(store: Store) -> None:
    ask(store)
    store.request_cancel("r1")
    assert store.claimable_runs() == ["r1"]
