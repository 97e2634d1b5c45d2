"""The SQLModel tables. Times are UTC milliseconds; JSON is kept as text, so that it reads back as written."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from agentflow.core.amounts import DIMENSIONS


def _json(*, nullable: bool = False) -> Any:
    return Field(default=None if nullable else "", sa_column=Column(Text, nullable=nullable))


def _whole(*, nullable: bool = False, added: bool = False) -> Any:
    """Return a whole number; ``added`` is one that files of earlier versions do not have, and that is 0 there."""
    column = Column(BigInteger, nullable=nullable, server_default="0" if added else None)
    return Field(default=None if nullable else 0, sa_column=column)


def _bytes() -> Any:
    return Field(default=b"", sa_column=Column(LargeBinary, nullable=False))


class RunRow(SQLModel, table=True):
    """One execution of a workflow."""

    __tablename__ = "runs"

    id: str = Field(primary_key=True)
    workflow: str = Field(index=True)
    digest: str
    inputs: str = _json()
    seed: int = _whole()
    status: str = Field(index=True)
    started_ms: int = _whole()
    ended_ms: int | None = _whole(nullable=True)
    error: str | None = _json(nullable=True)
    error_kind: str | None = None
    outputs: str | None = _json(nullable=True)
    manifest: str | None = _json(nullable=True)
    trace_path: str | None = None
    reused_from: str | None = None
    owner: str | None = None
    fence: int = _whole(added=True)
    lease_until_ms: int = _whole(added=True)
    renewed_ms: int = _whole(added=True)
    cancel_requested: int = _whole(added=True)


_CACHED = text("cache_key IS NOT NULL")


class StepRow(SQLModel, table=True):
    """A finished step under the digest of everything that makes it that step."""

    __tablename__ = "steps"
    __table_args__ = (
        Index("steps_by_place", "run_id", "path"),
        Index("steps_by_cache_key", "cache_key", sqlite_where=_CACHED, postgresql_where=_CACHED),
    )

    key: str = Field(primary_key=True)
    run_id: str
    path: str
    iteration: str
    input_digest: str
    status: str
    envelope: str = _json()
    started_ms: int = _whole()
    ended_ms: int = _whole()
    cache_key: str | None = None


class VerdictRow(SQLModel, table=True):
    """One guardrail's record."""

    __tablename__ = "verdicts"

    id: int | None = Field(default=None, primary_key=True)
    run_id: str = Field(index=True)
    step_key: str
    guardrail: str
    hook: str
    verdict: str
    action: str
    record: str = _json()


class ScoreRow(SQLModel, table=True):
    """One scorer's record; ``value`` is None where it could not score."""

    __tablename__ = "scores"

    id: int | None = Field(default=None, primary_key=True)
    run_id: str = Field(index=True)
    step_key: str
    scorer: str
    value: float | None = None
    record: str = _json()


class ArtifactRow(SQLModel, table=True):
    """A file by its content."""

    __tablename__ = "artifacts"

    digest: str = Field(primary_key=True)
    media_type: str
    bytes: int = _whole()


class RunArtifactRow(SQLModel, table=True):
    """Which run made an artifact, at which step, under which name."""

    __tablename__ = "run_artifacts"

    run_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    step: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    meta: str = _json()
    made_ms: int = _whole()


class ApprovalRow(SQLModel, table=True):
    """What a person was asked, exactly what was shown, and the one decision."""

    __tablename__ = "approvals"
    __table_args__ = (Index("one_approval_per_place", "run_id", "path", "iteration", "kind", unique=True),)

    id: str = Field(primary_key=True)
    run_id: str
    path: str
    iteration: str
    kind: str
    message: str = _json()
    shown: str = _json()
    digest: str
    answers_schema: str | None = _json(nullable=True)
    asked_ms: int = _whole()
    expires_ms: int | None = _whole(nullable=True)
    on_timeout: str
    decision: str | None = Field(default=None, index=True)
    answers: str | None = _json(nullable=True)
    decided_by: str | None = None
    comment: str | None = _json(nullable=True)
    decided_ms: int | None = _whole(nullable=True)


class CheckpointRow(SQLModel, table=True):
    """Where a run's graph stands: the newest checkpoint only, as bytes that the graph understands."""

    __tablename__ = "checkpoints"

    run_id: str = Field(primary_key=True)
    checkpoint_id: str
    kind: str
    data: bytes = _bytes()
    about: bytes = _bytes()


class CheckpointWriteRow(SQLModel, table=True):
    """What one task of the graph wrote after the checkpoint."""

    __tablename__ = "checkpoint_writes"

    run_id: str = Field(primary_key=True)
    checkpoint_id: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    number: int = _whole()
    kind: str
    data: bytes = _bytes()


class ScopeRow(SQLModel, table=True):
    """A budget scope: for each dimension its cap, and what of it is held and spent."""

    __tablename__ = "ledger_scopes"
    # The last line of defence: whatever code writes, the database itself refuses a booking above a cap.
    __table_args__ = tuple(
        CheckConstraint(
            f"held_{name} >= 0 AND spent_{name} >= 0 AND held_{name} <= cap_{name} - spent_{name}",
            name=f"{name}_within_cap",
        )
        for name in DIMENSIONS
    )

    id: str = Field(primary_key=True)
    parent: str | None = Field(default=None, index=True)
    cap_tokens: int = _whole()
    held_tokens: int = _whole()
    spent_tokens: int = _whole()
    cap_micro_usd: int = _whole()
    held_micro_usd: int = _whole()
    spent_micro_usd: int = _whole()
    cap_gpu_ms: int = _whole()
    held_gpu_ms: int = _whole()
    spent_gpu_ms: int = _whole()
    cap_frames: int = _whole()
    held_frames: int = _whole()
    spent_frames: int = _whole()
    cap_wall_ms: int = _whole()
    held_wall_ms: int = _whole()
    spent_wall_ms: int = _whole()


_OPEN = text("state = 'held'")


class HoldRow(SQLModel, table=True):
    """A reservation: what was taken, by whom, and what became of it."""

    __tablename__ = "ledger_holds"
    __table_args__ = (
        Index("one_open_hold_per_key", "key", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("open_holds_of_scope", "scope", "state"),
    )

    id: str = Field(primary_key=True)
    key: str
    scope: str
    owner: str
    state: str
    reserved: str = _json()
    booked: str | None = _json(nullable=True)
    overrun: str | None = _json(nullable=True)
    taken_ms: int = _whole()
    closed_ms: int | None = _whole(nullable=True)
