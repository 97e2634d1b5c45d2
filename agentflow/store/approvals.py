"""The rows of approvals: what was asked and shown, and the one decision."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update
from sqlmodel import col

from agentflow.core.errors import (
    AlreadyDecidedError,
    ApprovalExpiredError,
    InvalidInputError,
    PayloadChangedError,
    UnknownNameError,
)
from agentflow.store.clock import moment, shared_ms
from agentflow.store.database import Database, columns, insert_new
from agentflow.store.leases import ENDED, Lease, under
from agentflow.store.records import ApprovalRecord
from agentflow.store.runs import as_text
from agentflow.store.tables import ApprovalRow, RunRow

DECISIONS = ("approve", "reject")
_BY_TIMEOUT = "timeout"


class Approvals:
    """What the store knows about approvals. Times go by the database's clock."""

    database: Database

    def ask(
        self,
        run_id: str,
        path: str,
        iteration: str,
        *,
        kind: str,
        message: str,
        shown: Any,
        digest: str,
        answers_schema: dict[str, Any] | None = None,
        expires_ms: int | None = None,
        on_timeout: str = "reject",
        lease: Lease | None = None,
    ) -> ApprovalRecord:
        """Write down a question, or return the one that stands at this place, decided or not.

        Args:
            run_id: the run that waits; with the next two and ``kind`` it makes the place.
            path: of the step that asks.
            iteration: which pass or item of it.
            kind: ``approval``, or ``budget`` where a cap must be raised.
            message: what the person reads.
            shown: what the person sees, as JSON.
            digest: of exactly what is shown.
            answers_schema: the JSON schema of the answers that come with a decision.
            expires_ms: until when there is time to decide, as UTC milliseconds.
            on_timeout: the decision after that, ``approve`` or ``reject``.
            lease: the right to write for the run.

        Raises:
            PayloadChangedError: the standing question showed something else.
        """
        place = {"run_id": run_id, "path": path, "iteration": iteration, "kind": kind}
        question = {
            "message": message,
            "shown": as_text(shown),
            "digest": digest,
            "answers_schema": None if answers_schema is None else as_text(answers_schema),
            "expires_ms": expires_ms,
            "on_timeout": _known(on_timeout),
        }

        def write(connection: Connection) -> ApprovalRecord:
            own = {"id": uuid.uuid4().hex[:12], "asked_ms": shared_ms(connection)}
            insert_new(connection, ApprovalRow, place | question | own)
            standing = _approval(connection.execute(_BY_PLACE, place).mappings().one())
            if standing.digest != digest:
                raise PayloadChangedError(f"{kind} {path} of run {run_id}", standing.digest, digest)
            return standing

        return self.database.attempt(under(lease, write), durable=True)

    def decide(
        self,
        approval_id: str,
        decision: str,
        *,
        by: str,
        comment: str = "",
        answers: Any = None,
        digest: str | None = None,
    ) -> ApprovalRecord:
        """Record the one decision.

        Args:
            approval_id: of the question.
            decision: ``approve`` or ``reject``.
            by: who decided.
            comment: why.
            answers: what was answered, as JSON; whether it fits the schema is the caller's to check.
            digest: of what the person saw; None where nothing tells.

        Raises:
            AlreadyDecidedError: it is decided.
            ApprovalExpiredError: the time to decide is over.
            PayloadChangedError: the person saw something else than what is asked.
            InvalidInputError: no such decision, or the run has ended.
            UnknownNameError: no question has this id.
        """
        made = {
            "decision": _known(decision),
            "answers": as_text(answers),
            "decided_by": by,
            "comment": comment,
        }

        def write(connection: Connection) -> ApprovalRecord:
            standing, now = _standing(connection, approval_id), shared_ms(connection)
            if standing.decision is not None:
                raise _decided_before(standing)
            if standing.expires is not None and standing.expires <= moment(now):
                raise ApprovalExpiredError(approval_id, _ms(standing.expires), standing.on_timeout)
            if digest is not None and digest != standing.digest:
                raise PayloadChangedError(f"approval {approval_id}", standing.digest, digest)
            _refuse_ended(connection, standing)
            if not _record(connection, approval_id, made | {"decided_ms": now}):
                raise _decided_before(_standing(connection, approval_id))
            return _standing(connection, approval_id)

        return self.database.attempt(write, durable=True)

    def expire_approval(self, approval_id: str) -> ApprovalRecord:
        """Record what the running out of its time decides; return the question with its decision.

        A decision that a person made in time stands.

        Raises:
            InvalidInputError: there is time left.
            UnknownNameError: no question has this id.
        """

        def write(connection: Connection) -> ApprovalRecord:
            standing, now = _standing(connection, approval_id), shared_ms(connection)
            if standing.decision is not None:
                return standing
            if standing.expires is None or standing.expires > moment(now):
                until = "no end" if standing.expires is None else f"time until {standing.expires:%F %T} UTC"
                raise InvalidInputError(f"approval {approval_id}", until, "one whose time is over")
            made = {"decision": standing.on_timeout, "decided_by": _BY_TIMEOUT, "decided_ms": now}
            _record(connection, approval_id, made | {"comment": "nobody decided in time", "answers": None})
            return _standing(connection, approval_id)

        return self.database.attempt(write, durable=True)

    def approval(self, approval_id: str) -> ApprovalRecord:
        """Return one question.

        Raises:
            UnknownNameError: no question has this id.
        """
        with self.database.read() as connection:
            return _standing(connection, approval_id)

    def approvals(self, run_id: str | None = None, *, open_only: bool = False) -> list[ApprovalRecord]:
        """Return questions in the order of asking.

        Args:
            run_id: of one run only.
            open_only: only those that still want a decision: undecided, and their run has not ended.
        """
        query = select(*columns(ApprovalRow)).order_by(col(ApprovalRow.asked_ms), col(ApprovalRow.id))
        if run_id is not None:
            query = query.where(col(ApprovalRow.run_id) == run_id)
        if open_only:
            query = query.where(col(ApprovalRow.decision).is_(None), _of_open_run())
        with self.database.read() as connection:
            return [_approval(row) for row in connection.execute(query).mappings()]


def nothing_to_wait_for(now: int) -> Any:
    """Return the condition that a run's questions are all decided, or that the time of one is over."""
    here = col(ApprovalRow.run_id) == col(RunRow.id)
    undecided = select(col(ApprovalRow.id)).where(here, col(ApprovalRow.decision).is_(None))
    return or_(~undecided.exists(), undecided.where(col(ApprovalRow.expires_ms) <= now).exists())


def _of_open_run() -> Any:
    return col(ApprovalRow.run_id).in_(select(col(RunRow.id)).where(col(RunRow.status).not_in(_ENDED)))


_ENDED = [status.value for status in ENDED]
_ALL = select(*columns(ApprovalRow))
_BY_ID = _ALL.where(col(ApprovalRow.id) == bindparam("approval"))
_BY_PLACE = _ALL.where(
    col(ApprovalRow.run_id) == bindparam("run_id"),
    col(ApprovalRow.path) == bindparam("path"),
    col(ApprovalRow.iteration) == bindparam("iteration"),
    col(ApprovalRow.kind) == bindparam("kind"),
)


def _known(decision: str) -> str:
    if decision not in DECISIONS:
        raise InvalidInputError("decision", repr(decision), " or ".join(map(repr, DECISIONS)))
    return decision


def _standing(connection: Connection, approval_id: str) -> ApprovalRecord:
    found = connection.execute(_BY_ID, {"approval": approval_id}).mappings().first()
    if found is None:
        known = select(col(ApprovalRow.id)).where(col(ApprovalRow.decision).is_(None)).limit(20)
        raise UnknownNameError("approval", approval_id, connection.execute(known).scalars())
    return _approval(found)


def _refuse_ended(connection: Connection, standing: ApprovalRecord) -> None:
    status = connection.execute(
        select(col(RunRow.status)).where(col(RunRow.id) == standing.run_id)
    ).scalar_one_or_none()
    if status in _ENDED:
        raise InvalidInputError(
            f"approval {standing.id}",
            f"run {standing.run_id}, which has ended ({status})",
            "a run that waits",
        )


def _record(connection: Connection, approval_id: str, made: dict[str, Any]) -> bool:
    """Write the decision where there is none; return whether there was none."""
    undecided = update(ApprovalRow).where(
        col(ApprovalRow.id) == approval_id, col(ApprovalRow.decision).is_(None)
    )
    return connection.execute(undecided.values(made)).rowcount == 1


def _decided_before(standing: ApprovalRecord) -> AlreadyDecidedError:
    decided = 0 if standing.decided is None else _ms(standing.decided)
    return AlreadyDecidedError(standing.id, standing.decision or "", standing.by or "", decided)


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _approval(row: Any) -> ApprovalRecord:
    fields = {name: value for name, value in row.items() if not name.endswith("_ms")}
    fields["by"] = fields.pop("decided_by")
    for name in ("shown", "answers_schema", "answers"):
        fields[name] = None if row[name] is None else json.loads(row[name])
    for name in ("asked", "expires", "decided"):
        fields[name] = None if row[f"{name}_ms"] is None else moment(row[f"{name}_ms"])
    return ApprovalRecord(**fields)
