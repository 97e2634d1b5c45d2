"""What crosses boundaries: subjects, verdicts, scores, envelopes, artifacts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agentflow.core.amounts import Amounts


class Hook(StrEnum):
    """Where a guardrail looks."""

    INPUT = "input"
    PLAN = "plan"
    TOOL_ARGS = "tool_args"
    ACTION = "action"
    PREDICTED_STATE = "predicted_state"
    FRAMES = "frames"
    TOOL_RESULT = "tool_result"
    OUTPUT = "output"
    RESUME = "resume"


class VerdictType(StrEnum):
    """What a guardrail found."""

    ALLOW = "allow"
    DENY = "deny"
    MODIFY = "modify"
    WARN = "warn"
    ESCALATE = "escalate"


class GuardAction(StrEnum):
    """What is done about a verdict."""

    ALLOW = "allow"
    BLOCK = "block"
    REDACT = "redact"
    REWRITE = "rewrite"
    DEGRADE = "degrade"
    ESCALATE = "escalate"


class StepStatus(StrEnum):
    """How a step ended; ``called`` is a step that was paid for and has its result still to be guarded."""

    CALLED = "called"
    OK = "ok"
    SKIPPED = "skipped"
    REFUSED = "refused"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXHAUSTED = "exhausted"


class RunStatus(StrEnum):
    """Where a run stands; ``queued`` is a run that waits for a worker, ``waiting`` one that waits for a person."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    DEGRADED = "degraded"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Subject(BaseModel):
    """What a guardrail or a scorer looks at.

    ``value`` is what the hook guards; ``labels`` say where it came from; ``run`` is what the run holds so
    far (``inputs`` and ``steps``), read-only by convention.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    hook: str
    value: Any
    step: str = ""
    labels: tuple[str, ...] = ()
    run: Mapping[str, Any] = Field(default_factory=dict)


class Verdict(BaseModel):
    """What a guardrail found, with what it saw as ``evidence`` (JSON).

    ``replacement`` is the changed value of a ``modify`` verdict.
    """

    model_config = ConfigDict(frozen=True)

    type: VerdictType
    reason: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)
    replacement: Any = None

    @classmethod
    def allow(cls, reason: str = "", **evidence: Any) -> Verdict:
        """Nothing stands against the subject."""
        return cls(type=VerdictType.ALLOW, reason=reason, evidence=evidence)

    @classmethod
    def deny(cls, reason: str, **evidence: Any) -> Verdict:
        """The subject must not go on."""
        return cls(type=VerdictType.DENY, reason=reason, evidence=evidence)

    @classmethod
    def warn(cls, reason: str, **evidence: Any) -> Verdict:
        """The subject may go on; a person should know."""
        return cls(type=VerdictType.WARN, reason=reason, evidence=evidence)

    @classmethod
    def modify(cls, replacement: Any, reason: str, **evidence: Any) -> Verdict:
        """The subject may go on in the changed form ``replacement``."""
        return cls(type=VerdictType.MODIFY, reason=reason, evidence=evidence, replacement=replacement)

    @classmethod
    def escalate(cls, reason: str, **evidence: Any) -> Verdict:
        """A person must decide."""
        return cls(type=VerdictType.ESCALATE, reason=reason, evidence=evidence)


class GuardRecord(BaseModel):
    """One guardrail, run once: what it found and what was done about it."""

    model_config = ConfigDict(frozen=True)

    guardrail: str
    hook: str
    step: str
    verdict: VerdictType
    action: GuardAction
    status: str = "ran"
    """``ran``, or ``error`` / ``timeout`` when it could not judge."""
    reason: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)
    subject_digest: str = ""
    duration_ms: float = 0.0


class Score(BaseModel):
    """A measured value with its interval; ``value`` None means unscored, and ``reason`` says why."""

    model_config = ConfigDict(frozen=True)

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 1
    reason: str = ""

    @classmethod
    def unscored(cls, reason: str) -> Score:
        """Return a score that says why there is none."""
        return cls(value=None, n=0, reason=reason)


class ScoreRecord(BaseModel):
    """A score, with who gave it to what."""

    model_config = ConfigDict(frozen=True)

    scorer: str
    step: str
    score: Score
    unit: str = ""


class Artifact(BaseModel):
    """A file that a run made, addressed by its content: ``uri`` is ``artifact:<sha256>``."""

    model_config = ConfigDict(frozen=True)

    digest: str
    media_type: str
    bytes: int
    name: str
    meta: dict[str, Any] = Field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The reference that state and records hold."""
        return f"artifact:{self.digest}"


class Envelope(BaseModel):
    """The outcome of one step: JSON only, so it goes into state, store and traces as it is."""

    model_config = ConfigDict(frozen=True)

    status: StepStatus
    output: Any = None
    error: str | None = None
    error_kind: str | None = None
    usage: Amounts = Field(default_factory=Amounts)
    attempts: int = 0
    verdicts: list[GuardRecord] = Field(default_factory=list)
    scores: list[ScoreRecord] = Field(default_factory=list)
    artifacts: list[Artifact] = Field(default_factory=list)
    rungs: list[str] = Field(default_factory=list)
    """What was given up to stay within budget or trust, in order."""
    reused: bool = False
    """Whether it was taken over from an earlier run, which paid for it."""
    warnings: list[str] = Field(default_factory=list)
    """What a person should know beside it, such as a thread that could not be stopped."""
    retryable: bool = False
    """Of a step that failed: whether another attempt may go well."""
    exhausted: dict[str, Any] | None = None
    """Of a step that a budget ended: scope, dimension, requested, left, cap."""

    @property
    def final(self) -> bool:
        """Whether nothing that comes later replaces it."""
        return self.usable or self.status is StepStatus.SKIPPED

    @property
    def usable(self) -> bool:
        """Whether later steps may read the output."""
        return self.status in (StepStatus.OK, StepStatus.DEGRADED)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """Return the sha256 of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
