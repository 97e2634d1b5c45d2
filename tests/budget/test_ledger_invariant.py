"""Whatever is done in whatever order: the books agree with a model in plain Python, and with the caps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from agentflow.budget.ledger import Hold, Ledger
from agentflow.core.amounts import Amounts
from agentflow.core.errors import BudgetExceededError
from agentflow.store.store import Store

PARENTS = {"project": None, "run a": "project", "run b": "project", "step a": "run a"}
AMOUNTS = st.builds(Amounts, tokens=st.integers(0, 12), frames=st.integers(0, 5))
CAPS = st.builds(Amounts, tokens=st.integers(0, 40), frames=st.integers(0, 15))


def chain(scope: str | None) -> list[str]:
    return [] if scope is None else [scope, *chain(PARENTS[scope])]


class LedgerMachine(RuleBasedStateMachine):
    holds = Bundle("holds")
    new_schema: Callable[[], AbstractContextManager[str]] | None = None

    @initialize(caps=st.tuples(*[CAPS] * len(PARENTS)))
    def open(self, caps: tuple[Amounts, ...]) -> None:
        self.left_behind = ExitStack()
        folder = self.left_behind.enter_context(tempfile.TemporaryDirectory())
        url = self.new_schema and self.left_behind.enter_context(self.new_schema())
        self.store = Store.open(Path(folder), url)
        self.left_behind.callback(self.store.close)
        self.ledgers = [Ledger(self.store), Ledger(self.store)]
        self.cap = dict(zip(PARENTS, caps, strict=True))
        self.held = dict.fromkeys(PARENTS, Amounts())
        self.spent = dict.fromkeys(PARENTS, Amounts())
        self.open_holds: dict[str, tuple[int, Hold]] = {}
        self.real = Amounts()
        self.booked = Amounts()
        self.keys = 0
        for scope, parent in PARENTS.items():
            self.ledgers[0].open_scope(scope, self.cap[scope], parent)

    def left(self, scope: str) -> Amounts:
        left = Amounts.unlimited()
        for name in chain(scope):
            left = left.at_most(self.cap[name].minus(self.held[name]).minus(self.spent[name]))
        return left

    def close(self, hold: Hold, booked: Amounts) -> None:
        del self.open_holds[hold.id]
        for name in chain(hold.scope):
            self.held[name] = self.held[name].minus(hold.amounts)
            self.spent[name] = self.spent[name].plus(booked)
        self.booked = self.booked.plus(booked)

    @rule(target=holds, owner=st.integers(0, 1), scope=st.sampled_from(list(PARENTS)), amounts=AMOUNTS)
    def reserve(self, owner: int, scope: str, amounts: Amounts) -> tuple[int, Hold] | None:
        self.keys += 1
        fits = amounts.first_above(self.left(scope)) is None
        try:
            hold = self.ledgers[owner].reserve(scope, amounts, f"k{self.keys}")
        except BudgetExceededError:
            assert not fits
            return None
        assert fits
        self.open_holds[hold.id] = (owner, hold)
        for name in chain(scope):
            self.held[name] = self.held[name].plus(amounts)
        return owner, hold

    @rule(taken=consumes(holds), actual=AMOUNTS)
    def settle(self, taken: tuple[int, Hold] | None, actual: Amounts) -> None:
        if taken is None:
            return
        owner, hold = taken
        room = hold.amounts.plus(self.left(hold.scope))
        settlement = self.ledgers[owner].settle(hold, actual)
        self.real = self.real.plus(actual)
        if hold.id not in self.open_holds:
            assert settlement.late
            assert settlement.booked == hold.amounts
        else:
            assert not settlement.late
            assert settlement.booked == actual.at_most(room)
            self.close(hold, settlement.booked)
        self.real = self.real.minus(settlement.overrun)
        assert actual.minus(settlement.booked) == settlement.overrun

    @rule(taken=consumes(holds))
    def release(self, taken: tuple[int, Hold] | None) -> None:
        if taken is None:
            return
        owner, hold = taken
        self.ledgers[owner].release(hold)
        if hold.id in self.open_holds:
            self.close(hold, Amounts())

    @rule(successor=st.integers(0, 1), scope=st.sampled_from(list(PARENTS)))
    def recover(self, successor: int, scope: str) -> None:
        lost = [
            hold
            for owner, hold in self.open_holds.values()
            if owner != successor and scope in chain(hold.scope)
        ]
        recovered = self.ledgers[successor].recover(scope)
        assert sorted(hold.id for hold in recovered) == sorted(hold.id for hold in lost)
        for hold in lost:
            self.close(hold, hold.amounts)

    @rule(scope=st.sampled_from(list(PARENTS)), caps=CAPS)
    def set_caps(self, scope: str, caps: Amounts) -> None:
        self.ledgers[0].open_scope(scope, caps, PARENTS[scope])
        booked = self.held[scope].plus(self.spent[scope])
        self.cap[scope] = caps.plus(booked.minus(caps))

    @invariant()
    def real_is_within_booked_is_within_cap(self) -> None:
        for scope in getattr(self, "cap", {}):
            usage = self.ledgers[1].usage(scope)
            assert (usage.cap, usage.held, usage.spent) == (
                self.cap[scope],
                self.held[scope],
                self.spent[scope],
            )
            assert usage.held.plus(usage.spent).first_above(usage.cap) is None
            assert self.ledgers[0].left(scope) == self.left(scope)
        if hasattr(self, "cap"):
            assert self.booked == self.spent["project"]
            assert self.real.first_above(self.booked) is None

    def teardown(self) -> None:
        if hasattr(self, "left_behind"):
            self.left_behind.close()


# Derandomized: every machine plays the same games, and a failure prints the moves that led to it.
SETTINGS = settings(
    max_examples=30,
    stateful_step_count=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_real_is_within_booked_is_within_cap_whatever_is_done(
    database: str, request: pytest.FixtureRequest
) -> None:
    class Machine(LedgerMachine):
        new_schema = (
            None if database == "sqlite" else staticmethod(request.getfixturevalue("new_postgresql_schema"))
        )

    run_state_machine_as_test(Machine, settings=SETTINGS)
