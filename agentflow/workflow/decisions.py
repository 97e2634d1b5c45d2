"""What people do to a run from outside: decide what it waits for, cancel it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentflow.core.errors import InvalidInputError, PayloadChangedError, RunCancelledError, RunHeldError
from agentflow.core.records import RunStatus
from agentflow.store.records import ApprovalRecord, RunRecord
from agentflow.store.store import Store
from agentflow.workflow.approvals import raised_caps
from agentflow.workflow.inputs import resolve_answers
from agentflow.workflow.steps import Step

DECISIONS = ("approve", "reject")
SHORTEST_DIGEST = 8


def require_waiting(record: RunRecord) -> None:
    """Refuse a run that waits for nobody.

    Raises:
        InvalidInputError: it is at work, or has ended.
    """
    if record.status is not RunStatus.WAITING:
        raise InvalidInputError(
            f"run {record.id}", f"status '{record.status}'", "a run that waits for a decision"
        )


def decide(
    store: Store, step_at: Callable[[str], Step | None], record: RunRecord, decision: str, by: str, comment: str,
    answers: Mapping[str, Any] | None, approval: str | None, digest: str | None = None,
) -> ApprovalRecord:  # fmt: skip
    """Record one decision on what a run waits for; ``step_at`` returns the step of a place in the run.

    ``digest`` names what was shown to whoever decided, or the first 8 or more of its digits.

    Raises:
        PayloadChangedError: what is asked is something else than ``digest`` names.
        InvalidInputError: no such decision, nothing or several things are asked, or an answer does not fit.
        AlreadyDecidedError: somebody was faster.
    """
    if decision not in DECISIONS:
        raise InvalidInputError("decision", repr(decision), " or ".join(DECISIONS))
    asked = _asked(store, record.id, approval)
    if digest is not None and (len(digest) < SHORTEST_DIGEST or not asked.digest.startswith(digest)):
        raise PayloadChangedError(f"approval {asked.id} of run {record.id}", digest, asked.digest)
    given = dict(answers or {})
    if decision == "approve":
        given = _fitting(asked, step_at(asked.path), given)
    return store.decide(
        asked.id, decision, by=by, comment=comment, answers=given or None, digest=asked.digest
    )


def _asked(store: Store, run_id: str, approval: str | None) -> ApprovalRecord:
    found = store.approvals(run_id, open_only=approval is None)
    if approval is not None:
        found = [each for each in found if approval in (each.id, each.path)]
        found = [each for each in found if each.decision is None] or found[-1:]
    if len(found) == 1:
        return found[0]
    known = store.approvals(run_id, open_only=True)
    listed = ", ".join(f"{each.id} ({each.path})" for each in known) or "none: nothing is asked"
    if len(known) > 1:
        listed = f"one of {listed}, named with `approval` (--approval)"
    what = "several that wait" if len(found) > 1 else "none of this name" if approval else "none"
    raise InvalidInputError(f"run {run_id}: approval", what, listed)


def _fitting(asked: ApprovalRecord, step: Step | None, answers: dict[str, Any]) -> dict[str, Any]:
    if asked.kind == "budget":
        raised_caps(asked.shown, answers)
        return answers
    if step is None or step.approval is None:
        return answers
    return resolve_answers(step.approval, answers)


def cancel(store: Store, record: RunRecord) -> None:
    """End a run: through the process that is at work on it, or here where there is none.

    Raises:
        InvalidInputError: it has ended already.
    """
    if not store.request_cancel(record.id):
        status = store.get_run(record.id).status
        raise InvalidInputError(f"run {record.id}", f"status '{status}'", "a run that has not ended")
    try:
        lease = store.claim_run(record.id, seen=record)
    except RunHeldError:
        return  # its process looks out for the request, or has ended it by now
    try:
        error = RunCancelledError(record.id, "`agentflow cancel`")
        store.finish_run(record.id, RunStatus.CANCELLED, error=error, lease=lease)
    finally:
        store.release_run(lease)
