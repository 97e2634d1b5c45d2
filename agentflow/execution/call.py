"""`StepCall`: what is to be called, and all that has to happen around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from agentflow.core.amounts import NOTHING, Amounts
from agentflow.core.errors import RunError
from agentflow.core.protocols import Call
from agentflow.core.records import Envelope, GuardRecord, Hook, ScoreRecord, StepStatus
from agentflow.guard.engine import GuardEngine

Rung = tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]
"""One thing to give up: what it is called, and what it makes of a call's inputs."""


def _nothing(_: dict[str, Any]) -> Amounts:
    return NOTHING


class InnerCallError(RunError):
    """A call inside a step did not give what the step needs: the step ends as that call ended."""

    def __init__(
        self, status: StepStatus, kind: str | None, message: str, exhausted: dict[str, Any] | None = None,
        *, retryable: bool = False,
    ) -> None:  # fmt: skip
        self.status, self.exhausted, self.retryable = status, exhausted, retryable
        self._kind = kind or "StepFailed"
        super().__init__(message)

    @classmethod
    def of(cls, envelope: Envelope, what: str = "a call") -> Self:
        """Return the error of a call that ended like this."""
        message = envelope.error or f"{what}: {envelope.status}"
        return cls(
            envelope.status, envelope.error_kind, message, envelope.exhausted, retryable=envelope.retryable
        )

    @property
    def kind(self) -> str:
        """The inner error's name."""
        return self._kind


class WaitingError(RunError):
    """A step waits for a person; ``approvals`` are the ids of what is to be decided. It is no failure."""

    def __init__(self, approvals: Sequence[str]) -> None:
        self.approvals = list(approvals)
        super().__init__(f"waits for a decision on {', '.join(self.approvals)}")


@dataclass
class Notes:
    """What a body says to its envelope beside its output: what was found and given up inside it, what to know."""

    verdicts: list[GuardRecord] = field(default_factory=list)
    scores: list[ScoreRecord] = field(default_factory=list)
    rungs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(eq=False)
class StepCall:
    """What is to be called, and all that has to happen around it.

    Attributes:
        id: the step's id in the file; ``path`` its place in the run; ``iteration`` which pass or item.
        path: see above.
        iteration: see above.
        kind: the step's kind, as spans say it.
        name: what is called.
        inputs: resolves the inputs (JSON), within the envelope.
        body: does the work.
        estimate: an upper bound of the cost, of the inputs.
        scope: the budget's scope.
        before: the hook before the call; ``after`` behind it. None where there is nothing to guard.
        after: see above.
        condition: ``if``.
        guards: the step's guardrails.
        ladder: what may be given up, in order, when the budget has no room.
        degrade: whether it is.
        attempts: in all; ``backoff_s`` doubles.
        backoff_s: see above.
        timeout_s: of one attempt.
        books_wall: whether it books wall-clock time (calls inside it do not).
        score: measures the output.
        labels: where the inputs came from.
        resource: what it occupies alone.
        notes: what the body leaves for the record.
        view: ``inputs`` and ``steps`` of its workflow, for guardrails and tools; by default the run's.
        identity: what is called, as JSON, where the result of an earlier call of it with the same inputs will do.
    """

    id: str
    path: str
    kind: str
    name: str
    inputs: Callable[[], dict[str, Any]]
    body: Callable[[Call, dict[str, Any]], Awaitable[Any]]
    scope: str
    iteration: str = ""
    estimate: Callable[[dict[str, Any]], Amounts] = _nothing
    before: Hook | None = None
    after: Hook | None = None
    condition: Callable[[], bool] | None = None
    guards: GuardEngine | None = None
    ladder: Sequence[Rung] = ()
    degrade: bool = False
    attempts: int = 1
    backoff_s: float = 1.0
    timeout_s: float | None = None
    books_wall: bool = False
    score: Callable[[Any], Sequence[ScoreRecord]] | None = None
    labels: tuple[str, ...] = ()
    resource: str = ""
    notes: Notes = field(default_factory=Notes)
    view: Mapping[str, Any] | None = None
    identity: Callable[[], Any] | None = None
