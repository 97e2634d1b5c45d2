"""Assertions over how a run ended: its steps, verdicts, ledger and spans. A failure shows what was there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import text

from agentflow.core.amounts import DIMENSIONS, Amounts
from agentflow.core.records import Envelope, GuardAction, GuardRecord
from agentflow.sdk import RunResult
from agentflow.store.store import Store
from agentflow.tracing.read import SpanNode, read_trace


def envelopes(result: RunResult) -> dict[str, Envelope]:
    """Return the recorded outcome of every call of a run by its path, such as ``simulate[0]`` or ``plan/chat[1]``.

    A pass of a loop after the first is ``path@pass``.
    """
    store = _store(result)
    try:
        records = store.steps(result.run_id)
    finally:
        store.close()
    return {
        record.path if record.iteration in ("", "0") else f"{record.path}@{record.iteration}": record.envelope
        for record in records
    }


def assert_status(result: RunResult, status: str, **steps: str) -> None:
    """Hold a run's status, and the statuses of steps by their id, against what they should be."""
    found = {name: step["status"] for name, step in result.steps.items()}
    wrong = [f"step '{name}' should be {want}" for name, want in steps.items() if found.get(name) != want]
    if result.status != status:
        wrong.insert(0, f"the run should be {status}")
    if wrong:
        listing = [f"  {name}: {state}" for name, state in found.items()]
        raise _failure(
            "; ".join(wrong),
            f"the run: {result.status}" + (f" ({result.error})" if result.error else ""),
            *listing,
        )


# Guardrails


def assert_guard_ran(
    result: RunResult,
    guardrail: str,
    *,
    at: str | None = None,
    step: str | None = None,
    verdict: str | None = None,
) -> list[GuardRecord]:
    """Return the records of a guardrail that judged: at this hook, in this step, with this verdict, where said."""
    found = [
        record
        for record in result.verdicts
        if record.guardrail == guardrail
        and record.status == "ran"
        and (at is None or record.hook == at)
        and (step is None or record.step == step)
        and (verdict is None or record.verdict == verdict)
    ]
    if not found:
        wanted = _words(guardrail, at=at, step=step, verdict=verdict)
        raise _failure(f"no guardrail ran as {wanted}", "what guardrails found:", *_verdicts(result))
    return found


def assert_blocked(
    result: RunResult, guardrail: str, *, at: str | None = None, step: str | None = None
) -> GuardRecord:
    """Return the record with which a guardrail blocked, or asked for a person."""
    for record in result.verdicts:
        stopped = record.action in (GuardAction.BLOCK, GuardAction.ESCALATE)
        if (
            stopped
            and record.guardrail == guardrail
            and at in (None, record.hook)
            and step in (None, record.step)
        ):
            return record
    raise _failure(
        f"nothing was blocked by {_words(guardrail, at=at, step=step)}",
        "what guardrails found:",
        *_verdicts(result),
    )


def _verdicts(result: RunResult) -> list[str]:
    return [
        f"  {r.guardrail} at {r.hook} of {r.step}: {r.verdict} → {r.action}"
        + (f" ({r.reason})" if r.reason else "")
        for r in result.verdicts
    ] or ["  nothing"]


# The ledger


def assert_spent(result: RunResult, **amounts: int) -> None:
    """Hold what a run spent against exact amounts, such as ``tokens=7``; what is not named may be anything."""
    _compare(result, amounts, "exactly", lambda spent, want: spent == want)


def assert_spent_at_most(result: RunResult, **amounts: int) -> None:
    """Hold what a run spent against upper bounds, such as ``tokens=100, micro_usd=500``."""
    _compare(result, amounts, "at most", lambda spent, want: spent <= want)


def _compare(result: RunResult, amounts: dict[str, int], word: str, holds: Any) -> None:
    unknown = [name for name in amounts if name not in DIMENSIONS]
    if unknown:
        raise TypeError(f"'{unknown[0]}' is no dimension of a budget: {', '.join(DIMENSIONS)}")
    spent = result.usage.spent.as_dict()
    wrong = [f"{name} {word} {want}" for name, want in amounts.items() if not holds(spent[name], want)]
    if wrong:
        raise _failure(
            f"the run should have spent {', '.join(wrong)}", f"it spent {spent}; by call:", *_bill(result)
        )


def assert_booked_once(result: RunResult) -> None:
    """Hold a run's ledger against its steps: nothing is still held, and each call's cost is booked exactly once.

    What is booked is the cost of every recorded call, and of the holds that a crash left open; wall-clock, which
    overlaps, is left out. A step that failed and was called again by a resumed run has only its last outcome on
    record, so this is for runs whose steps did not.
    """
    held = result.usage.held
    if held != Amounts():
        raise _failure("nothing should be held any more", f"held: {held.as_dict()}; by call:", *_bill(result))
    lost = _lost(result)
    expected = _sum([*(envelope.usage for envelope in envelopes(result).values()), *lost])
    spent = result.usage.spent.model_copy(update={"wall_ms": 0})
    if spent != expected:
        raise _failure(
            "what is booked should be the sum of the calls, each once",
            f"booked: {spent.as_dict()}",
            f"the sum: {expected.as_dict()}",
            f"lost in crashes: {len(lost)} holds",
            *_bill(result),
        )


def _lost(result: RunResult) -> list[Amounts]:
    store = _store(result)
    query = text(
        "SELECT booked FROM ledger_holds WHERE state = 'lost' AND (scope = :run OR scope LIKE :below)"
    )
    try:
        with store.database.read() as connection:
            rows = connection.execute(
                query, {"run": f"run:{result.run_id}", "below": f"run:{result.run_id}/%"}
            )
            return [Amounts(**json.loads(row.booked)) for row in rows]
    finally:
        store.close()


def _sum(amounts: Iterable[Amounts]) -> Amounts:
    total = Amounts()
    for each in amounts:
        total = total.plus(each.model_copy(update={"wall_ms": 0}))
    return total


def _bill(result: RunResult) -> list[str]:
    rows = [
        f"  {path}: {', '.join(f'{name} {value}' for name, value in envelope.usage.as_dict().items() if value)}"
        for path, envelope in envelopes(result).items()
        if envelope.usage != Amounts()
    ]
    return rows or ["  no call cost anything"]


# Spans


def spans(result: RunResult, name: str | None = None) -> list[SpanNode]:
    """Return a run's spans in the order in which they began, or those of a name, such as ``execute_tool t.say``."""
    found = sorted(read_trace(result.trace_path).walk(), key=lambda span: span.start_ns)
    return found if name is None else [span for span in found if span.name == name]


def assert_span_order(result: RunResult, first: str, *, before: str) -> None:
    """Hold the first span of one name against the first of another: it has ended when that one begins."""
    ones, others = spans(result, first), spans(result, before)
    for name, there in ((first, ones), (before, others)):
        if not there:
            raise _failure(
                f"there is no span '{name}'",
                "the run's spans:",
                *(f"  {span.name}" for span in spans(result)),
            )
    if ones[0].end_ns > others[0].start_ns:
        raise _failure(
            f"'{first}' should end before '{before}' begins",
            "the run's spans, as they begin:",
            *(f"  {span.name}" for span in spans(result)),
        )


def _store(result: RunResult) -> Store:
    return Store.of_project(result.folder.parent.parent)


def _words(guardrail: str, **narrower: str | None) -> str:
    return f"'{guardrail}'" + "".join(
        f", {name} '{value}'" for name, value in narrower.items() if value is not None
    )


def _failure(*lines: str) -> AssertionError:
    return AssertionError("\n".join(lines))
