"""The ledger on one file and in one process: what it takes, books, gives back and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentflow.budget.ledger import Hold, Ledger, Settlement, Usage
from agentflow.core.amounts import UNLIMITED, Amounts
from agentflow.core.errors import BudgetExceededError, InvalidInputError, StorageError, UnknownNameError
from agentflow.core.records import Envelope, StepStatus
from agentflow.store.store import Store

CAP = Amounts(tokens=100, micro_usd=1000, gpu_ms=500, frames=60, wall_ms=10_000)
HALF = Amounts(tokens=50, micro_usd=500, gpu_ms=250, frames=30, wall_ms=5_000)
NOTHING = Amounts()


@pytest.fixture
def store(tmp_path: Path, store_url: str | None) -> Iterator[Store]:
    opened = Store.open(tmp_path, store_url)
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: Store) -> Ledger:
    opened = Ledger(store)
    opened.open_scope("project", CAP.plus(CAP))
    opened.open_scope("run", CAP, "project")
    opened.open_scope("step", HALF, "run")
    return opened


def usages(ledger: Ledger) -> dict[str, tuple[Amounts, Amounts]]:
    found = {name: ledger.usage(name) for name in ("step", "run", "project")}
    return {name: (usage.spent, usage.held) for name, usage in found.items()}


def test_a_hold_is_taken_in_all_scopes_and_dimensions(ledger: Ledger) -> None:
    hold = ledger.reserve("step", HALF, "k1")
    assert (hold.scope, hold.scopes, hold.amounts) == ("step", ("step", "run", "project"), HALF)
    assert usages(ledger) == dict.fromkeys(("step", "run", "project"), (NOTHING, HALF))
    assert ledger.left("step") == NOTHING
    assert ledger.left("run") == HALF


def test_settling_books_the_true_cost_and_gives_the_rest_back(ledger: Ledger) -> None:
    actual = Amounts(tokens=12, gpu_ms=250)
    settlement = ledger.settle(ledger.reserve("step", HALF, "k1"), actual)
    assert settlement == Settlement(booked=actual, overrun=NOTHING)
    assert usages(ledger) == dict.fromkeys(("step", "run", "project"), (actual, NOTHING))
    assert ledger.usage("run") == Usage(spent=actual, held=NOTHING, cap=CAP)


def test_a_released_hold_leaves_no_trace_in_the_sums(ledger: Ledger) -> None:
    ledger.release(ledger.reserve("step", HALF, "k1"))
    assert usages(ledger) == dict.fromkeys(("step", "run", "project"), (NOTHING, NOTHING))


def test_settling_or_releasing_again_changes_nothing(ledger: Ledger) -> None:
    hold = ledger.reserve("step", HALF, "k1")
    first = ledger.settle(hold, Amounts(tokens=12))
    assert ledger.settle(hold, Amounts(tokens=50)) == first
    ledger.release(hold)
    assert usages(ledger)["project"] == (Amounts(tokens=12), NOTHING)


@pytest.mark.parametrize("dimension", list(Amounts.model_fields))
def test_one_dimension_without_room_refuses_the_whole_hold(ledger: Ledger, dimension: str) -> None:
    amounts = Amounts(tokens=1, micro_usd=1, gpu_ms=1, frames=1, wall_ms=1)
    too_much = amounts.model_copy(update={dimension: getattr(HALF, dimension) + 1})
    with pytest.raises(BudgetExceededError) as refused:
        ledger.reserve("step", too_much, "k1")
    facts = refused.value
    cap = getattr(HALF, dimension)
    assert (facts.scope, facts.dimension, facts.requested, facts.left, facts.cap) == (
        "step",
        dimension,
        cap + 1,
        cap,
        cap,
    )
    assert usages(ledger) == dict.fromkeys(("step", "run", "project"), (NOTHING, NOTHING))


def test_a_scope_above_without_room_refuses_what_the_scope_itself_has_room_for(ledger: Ledger) -> None:
    ledger.settle(ledger.reserve("run", Amounts(tokens=80), "k1"), Amounts(tokens=80))
    with pytest.raises(
        BudgetExceededError, match="budget of run: tokens would pass its cap: asked for 30, left 20"
    ):
        ledger.reserve("step", Amounts(tokens=30), "k2")
    assert ledger.usage("step").held == NOTHING
    assert ledger.left("step").tokens == 20


def test_a_cap_can_be_used_to_its_last_unit_and_no_further(ledger: Ledger) -> None:
    ledger.settle(ledger.reserve("step", HALF, "k1"), HALF)
    with pytest.raises(BudgetExceededError):
        ledger.reserve("step", Amounts(frames=1), "k2")
    assert ledger.reserve("step", NOTHING, "k3").amounts == NOTHING


def test_reserving_again_with_the_key_of_an_open_hold_takes_nothing_more(ledger: Ledger) -> None:
    first = ledger.reserve("step", Amounts(tokens=30), "k1")
    assert ledger.reserve("step", Amounts(tokens=30), "k1") == first
    assert ledger.usage("step").held == Amounts(tokens=30)
    with pytest.raises(InvalidInputError, match="budget hold k1"):
        ledger.reserve("step", Amounts(tokens=31), "k1")


def test_the_key_of_a_closed_hold_takes_a_new_one(ledger: Ledger) -> None:
    first = ledger.reserve("step", Amounts(tokens=30), "k1")
    ledger.settle(first, Amounts(tokens=10))
    second = ledger.reserve("step", Amounts(tokens=30), "k1")
    assert second.id != first.id
    assert ledger.usage("step") == Usage(spent=Amounts(tokens=10), held=Amounts(tokens=30), cap=HALF)


def test_what_passed_its_hold_is_booked_where_the_caps_have_room(ledger: Ledger) -> None:
    hold = ledger.reserve("step", Amounts(tokens=10), "k1")
    assert ledger.settle(hold, Amounts(tokens=14)) == Settlement(Amounts(tokens=14), NOTHING)
    assert ledger.usage("project").spent == Amounts(tokens=14)


def test_what_fits_under_no_cap_is_returned_as_overrun_and_kept(store: Store, ledger: Ledger) -> None:
    other = ledger.reserve("step", Amounts(tokens=38), "other")
    hold = ledger.reserve("step", Amounts(tokens=10, frames=5), "k1")
    settlement = ledger.settle(hold, Amounts(tokens=15, frames=4))
    assert settlement == Settlement(booked=Amounts(tokens=12, frames=4), overrun=Amounts(tokens=3))
    assert ledger.settle(hold, NOTHING) == settlement
    assert ledger.usage("step") == Usage(spent=Amounts(tokens=12, frames=4), held=other.amounts, cap=HALF)
    with store.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT overrun FROM ledger_holds WHERE key = 'k1'").scalar_one()
    assert Amounts.model_validate_json(kept) == Amounts(tokens=3)


def test_a_settlement_and_a_step_record_are_written_together_or_not_at_all(
    store: Store, ledger: Ledger
) -> None:
    hold = ledger.reserve("step", HALF, "k1")
    done = Envelope(status=StepStatus.OK, usage=HALF)

    def settle_then_crash() -> None:
        with store.transaction() as transaction:
            ledger.settle(hold, HALF, transaction)
            store.record_step("r1", "plan", "", "d", done, started_ms=0, transaction=transaction)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        settle_then_crash()
    assert (ledger.usage("step").held, store.steps("r1")) == (HALF, [])

    with store.transaction() as transaction:
        ledger.settle(hold, HALF, transaction)
        store.record_step("r1", "plan", "", "d", done, started_ms=0, transaction=transaction)
    assert (ledger.usage("step").spent, [step.envelope for step in store.steps("r1")]) == (HALF, [done])


def test_the_open_holds_of_a_dead_owner_are_booked_as_spent(store: Store, ledger: Ledger) -> None:
    ledger.settle(ledger.reserve("step", Amounts(tokens=5), "done"), Amounts(tokens=2))
    in_step = ledger.reserve("step", Amounts(tokens=10), "k1")
    in_run = ledger.reserve("run", Amounts(frames=3), "k2")
    ledger.open_scope("other run", CAP, "project")
    elsewhere = ledger.reserve("other run", Amounts(tokens=7), "k3")

    successor = Ledger(store)
    own = successor.reserve("run", Amounts(wall_ms=9), "k4")
    assert sorted(hold.id for hold in successor.recover("run")) == sorted([in_step.id, in_run.id])
    assert successor.usage("run") == Usage(spent=Amounts(tokens=12, frames=3), held=own.amounts, cap=CAP)
    assert successor.usage("project").held == own.amounts.plus(elsewhere.amounts)
    assert successor.recover("run") == []


def test_an_owner_that_was_not_dead_settles_late_and_nothing_is_booked_twice(
    store: Store, ledger: Ledger
) -> None:
    hold = ledger.reserve("step", Amounts(tokens=10), "k1")
    successor = Ledger(store)
    successor.recover("run")
    again = successor.reserve("step", Amounts(tokens=10), "k1")

    assert ledger.settle(hold, Amounts(tokens=4)) == Settlement(Amounts(tokens=10), NOTHING, late=True)
    assert successor.settle(again, Amounts(tokens=3)) == Settlement(Amounts(tokens=3), NOTHING)
    assert ledger.usage("run") == Usage(spent=Amounts(tokens=13), held=NOTHING, cap=CAP)


def test_an_open_hold_of_another_process_cannot_be_shared(store: Store, ledger: Ledger) -> None:
    ledger.reserve("step", Amounts(tokens=10), "k1")
    with pytest.raises(InvalidInputError, match="an open hold of another process"):
        Ledger(store).reserve("step", Amounts(tokens=10), "k1")


def test_opening_a_scope_again_sets_its_caps_but_never_below_what_is_booked(ledger: Ledger) -> None:
    ledger.reserve("step", Amounts(tokens=20), "k1")
    ledger.settle(ledger.reserve("step", Amounts(tokens=10), "k2"), Amounts(tokens=10))
    ledger.open_scope("step", Amounts(tokens=60, frames=1), "run")
    assert ledger.usage("step").cap == Amounts(tokens=60, frames=1)
    ledger.open_scope("step", Amounts(tokens=5), "run")
    assert ledger.usage("step").cap == Amounts(tokens=30)
    assert ledger.left("step") == NOTHING


def test_a_scope_stays_under_its_parent(ledger: Ledger) -> None:
    with pytest.raises(InvalidInputError, match="parent of budget scope step: found project; allowed: run"):
        ledger.open_scope("step", HALF, "project")


def test_an_unknown_scope_or_parent_is_an_error_that_lists_the_known_ones(ledger: Ledger) -> None:
    with pytest.raises(UnknownNameError, match=r"'stop'\. Did you mean 'step'"):
        ledger.reserve("stop", NOTHING, "k1")
    with pytest.raises(UnknownNameError):
        ledger.open_scope("step 2", HALF, "ran")
    with pytest.raises(UnknownNameError):
        ledger.left("step 2")


def test_a_hold_that_was_never_taken_cannot_be_settled(ledger: Ledger) -> None:
    with pytest.raises(UnknownNameError, match="budget hold 'invented'"):
        ledger.settle(Hold("invented", "k", ("step", "run", "project"), HALF), HALF)


def test_the_largest_numbers_are_exact_and_never_wrap(store: Store) -> None:
    ledger = Ledger(store)
    ledger.open_scope("endless", Amounts.unlimited())
    ledger.settle(
        ledger.reserve("endless", Amounts(tokens=UNLIMITED - 1), "k1"), Amounts(tokens=UNLIMITED - 1)
    )
    assert ledger.left("endless").tokens == 1
    for tokens in (2, UNLIMITED, 2**63 - 1, 2**63, 2**80):
        with pytest.raises(BudgetExceededError):
            ledger.reserve("endless", Amounts(tokens=tokens), f"k{tokens}")
    ledger.open_scope("beyond", Amounts(tokens=2**80))
    assert ledger.left("beyond").tokens == UNLIMITED


@pytest.mark.parametrize(
    "change", ["held_tokens = cap_tokens + 1", "spent_frames = cap_frames + 1", "held_gpu_ms = -1"]
)
def test_the_database_itself_refuses_a_booking_above_a_cap(store: Store, ledger: Ledger, change: str) -> None:
    with pytest.raises(StorageError, match=r"(?i)check constraint"), store.transaction() as transaction:
        transaction.exec_driver_sql(f"UPDATE ledger_scopes SET {change} WHERE id = 'run'")  # noqa: S608
    assert ledger.usage("run").held == NOTHING


def test_what_needs_no_hold_takes_no_room_and_books_what_it_used(ledger: Ledger) -> None:
    ledger.open_scope("free", Amounts.unlimited())
    hold = ledger.nothing("free", "key")
    assert ledger.usage("free").held == Amounts()
    settlement = ledger.settle(hold, Amounts(wall_ms=7))
    assert settlement == Settlement(booked=Amounts(wall_ms=7), overrun=Amounts())
    assert ledger.usage("free").spent == Amounts(wall_ms=7)


def test_what_had_no_hold_is_still_booked_under_no_cap(ledger: Ledger) -> None:
    ledger.open_scope("above", Amounts(tokens=3))
    ledger.open_scope("below", Amounts(tokens=10), "above")
    settlement = ledger.settle(ledger.nothing("below", "key"), Amounts(tokens=5))
    assert settlement == Settlement(booked=Amounts(tokens=3), overrun=Amounts(tokens=2))
    assert ledger.usage("below").spent == ledger.usage("above").spent == Amounts(tokens=3)
