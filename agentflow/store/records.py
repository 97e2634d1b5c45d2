"""What the store gives back about runs and steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from agentflow.core.records import Envelope, RunStatus


class RunRecord(BaseModel):
    """One execution of a workflow, as far as it has come. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    workflow: str
    digest: str
    inputs: dict[str, Any]
    seed: int
    status: RunStatus
    started: datetime
    ended: datetime | None = None
    error: str | None = None
    error_kind: str | None = None
    outputs: Any = None
    manifest: dict[str, Any] | None = None
    """Which guardrails were asked for, which ran, what they found."""
    trace_path: str | None = None
    reused_from: str | None = None
    """The run whose steps it took over."""
    owner: str | None = None
    """The process that has it, as ``host:pid:start:id``."""
    fence: int = 0
    lease_until: datetime | None = None
    cancel_requested: bool = False


class StepRecord(BaseModel):
    """A finished step: where it stands in the workflow, and its outcome. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    key: str
    path: str
    iteration: str
    input_digest: str
    envelope: Envelope
    started: datetime
    ended: datetime


class ApprovalRecord(BaseModel):
    """What a person was asked, and the decision once there is one. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    run_id: str
    path: str
    iteration: str
    kind: str
    """``approval``, or ``budget`` where a cap must be raised."""
    message: str
    shown: Any = None
    digest: str
    """Of exactly what was shown."""
    answers_schema: dict[str, Any] | None = None
    asked: datetime
    expires: datetime | None = None
    on_timeout: str = "reject"
    """The decision that the time's running out makes."""
    decision: str | None = None
    answers: Any = None
    by: str | None = None
    comment: str | None = None
    decided: datetime | None = None


class CheckpointWrite(BaseModel):
    """What one task wrote after a checkpoint."""

    model_config = ConfigDict(frozen=True)

    task: str
    kind: str
    data: bytes


class CheckpointRecord(BaseModel):
    """The newest checkpoint of a run, and what was written after it, in the order of writing."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    checkpoint_id: str
    kind: str
    data: bytes
    metadata: bytes
    writes: tuple[CheckpointWrite, ...] = ()
