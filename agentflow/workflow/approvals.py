"""Steps that wait for a person: an approval, and a budget that somebody may raise."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agentflow.core.amounts import DIMENSIONS, UNLIMITED, Amounts
from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import Call
from agentflow.core.records import Envelope, digest_of
from agentflow.execution import values
from agentflow.execution.call import StepCall, WaitingError
from agentflow.store.records import ApprovalRecord
from agentflow.store.store import now_ms
from agentflow.workflow.cel_reading import read
from agentflow.workflow.expressions import compile_expr, resolve
from agentflow.workflow.failures import defect, rejected
from agentflow.workflow.frames import Frame
from agentflow.workflow.inputs import resolve_answers
from agentflow.workflow.steps import Approval, Step
from agentflow.workflow.type_schema import json_schema_of
from agentflow.workflow.types import map_of

BUDGET_ANSWERS = {"tokens": 1, "usd": 1_000_000, "gpu_seconds": 1_000, "frames": 1, "wall_clock": 1_000}
"""What a person may answer to a budget that is used up: new caps, and how many of the ledger's units one is."""
_DIMENSION = dict(zip(BUDGET_ANSWERS, DIMENSIONS, strict=True))


LIVE = ("run", "budget")
"""Roots whose values go on changing while a question waits."""


def approval_call(frame: Frame, step: Step, iteration: str) -> StepCall:
    """Return the call of an approval. Nothing in it has an effect before the decision stands in the store."""
    if step.approval is None:
        raise defect("approval")
    path = frame.path(step)

    def inputs() -> dict[str, Any]:
        record = _decided(frame, step, iteration)
        answers = record.answers or {}
        if record.decision == "approve" and step.approval is not None:
            answers = resolve_answers(step.approval, answers)
        return {
            "decision": record.decision, "by": record.by, "comment": record.comment, "answers": answers,
            "digest": record.digest,
        }  # fmt: skip

    async def body(_: Call, given: dict[str, Any]) -> dict[str, Any]:
        with frame.context.tracer.approval_resolve(step.id, decision=given["decision"], actor=given["by"]):
            pass
        if given["decision"] != "approve":
            raise rejected(step.id, given)
        return given

    return StepCall(
        id=step.id, path=path, iteration=iteration, kind="approval", name="approval", inputs=inputs, body=body,
        scope=frame.scope, condition=frame.condition(step), view=frame.view,
    )  # fmt: skip


def _decided(frame: Frame, step: Step, iteration: str) -> ApprovalRecord:
    """Return what was decided; without a decision, ask.

    Raises:
        WaitingError: nobody has decided yet.
        InvalidInputError: what is to be shown is no longer what was shown.
    """
    approval = step.approval
    if approval is None:
        raise defect("approval")
    context, names = frame.context, frame.names()
    shown = _shown(frame, step, iteration)
    record = context.store.ask(
        context.run_id,
        frame.path(step),
        iteration,
        kind="approval",
        message=resolve(approval.message, names),
        shown=shown,
        digest=digest_of(shown),
        expires_ms=None if approval.timeout is None else now_ms() + round(approval.timeout * 1e3),
        on_timeout=approval.on_timeout,
        answers_schema=_answers_schema(approval),
        lease=context.lease,
    )
    return _settled(frame, record)


def _shown(frame: Frame, step: Step, iteration: str) -> dict[str, Any]:
    """Return what a person is shown. What was spent by then stays what it was when the question was asked."""
    approval, names = step.approval, frame.names()
    texts = approval.show if approval else ()
    live = {text for text in texts if any(each.root in LIVE for each in read(text).references)}
    asked: dict[str, Any] = {}
    if live:
        place = (frame.path(step), iteration, "approval")
        for record in frame.context.store.approvals(frame.context.run_id):
            if (record.path, record.iteration, record.kind) == place:
                asked = {text: value for text, value in record.shown.items() if text in live}
    return {text: values.encode(compile_expr(text).evaluate(names)) for text in texts} | asked


def _answers_schema(approval: Approval) -> dict[str, Any] | None:
    if not approval.answers:
        return None
    fields = {name: spec.to_type() for name, spec in approval.answers.items()}
    optional = frozenset(name for name, spec in approval.answers.items() if not spec.required)
    return json_schema_of(replace(map_of(fields), optional=optional))


def _settled(frame: Frame, record: ApprovalRecord) -> ApprovalRecord:
    if record.decision is None and record.expires is not None and datetime.now(UTC) >= record.expires:
        with suppress(InvalidInputError):  # by the database's clock there is time left
            record = frame.context.store.expire_approval(record.id)
    if record.decision is None:
        raise WaitingError([record.id])
    return record


def pause(frame: Frame, step: Step, iteration: str, envelope: Envelope) -> bool:
    """Return whether a person raised the budget that a step exhausted, so that it can be tried again.

    Raises:
        WaitingError: nobody has decided yet.
    """
    facts = envelope.exhausted
    if facts is None:
        return False
    context, path = frame.context, frame.path(step)
    asked = [a for a in context.store.approvals(context.run_id) if a.kind == "budget" and a.path == path]
    if asked and asked[-1].decision == "reject":
        return False
    record = context.store.ask(
        context.run_id,
        path,
        f"{iteration}/{sum(a.decision is not None for a in asked)}",
        kind="budget",
        message=f"step '{path}' has used up its budget: {envelope.error} Raise it?",
        shown=facts,
        digest=digest_of(facts),
        expires_ms=None,
        on_timeout="reject",
        lease=context.lease,
    )
    record = _settled(frame, record)
    if record.decision != "approve":
        return False
    context.raise_cap(facts["scope"], raised_caps(record.shown, record.answers))
    return True


def raised_caps(facts: Mapping[str, Any], answers: Mapping[str, Any] | None) -> Amounts:
    """Return the caps that a decision set: those answered, else twice the one that was in the way.

    Raises:
        InvalidInputError: an answer is no cap.
    """
    if not answers:
        cap = min(2 * max(int(facts["cap"]), int(facts["requested"])), UNLIMITED)
        return Amounts(**{facts["dimension"]: cap})
    caps: dict[str, int] = {}
    for name, value in answers.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if name not in BUDGET_ANSWERS or not number:
            raise InvalidInputError(
                f"answer '{name}'", repr(value), f"a number for one of {', '.join(BUDGET_ANSWERS)}"
            )
        caps[_DIMENSION[name]] = min(round(value * BUDGET_ANSWERS[name]), UNLIMITED)
    return Amounts(**caps)
