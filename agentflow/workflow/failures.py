"""How a step of a workflow may fail beside what its call says, and how it waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentflow.core.errors import AgentflowError, GuardrailBlockedError, RunError, StepFailedError
from agentflow.core.records import Envelope, Hook
from agentflow.execution.call import InnerCallError


class GateFailedError(RunError):
    """A gate said no to the best that there was."""

    kind_name = "GateFailed"

    def __init__(self, step: str, gate: str, best: Mapping[str, float], turn: int) -> None:
        shown = ", ".join(f"{name} {value:g}" for name, value in best.items())
        super().__init__(
            f"step '{step}': the gate `{gate}` does not hold for the best of pass {turn} ({shown}). "
            "Ask for something easier, allow more loops (`max_loops`), or loosen the gate."
        )


class ItemsFailedError(InnerCallError):
    """Too many items of a ``foreach`` failed; the step ends as the first of them did."""

    def __init__(self, step: str, index: int, first: Envelope, bad: int, count: int) -> None:
        super().__init__(
            first.status,
            first.error_kind,
            f"step '{step}': {bad} of {count} items failed; item {index}: {first.error}",
            first.exhausted,
            retryable=first.retryable,
        )


def defect(what: str) -> AgentflowError:
    """Return the error of a state that the loader should have refused."""
    return StepFailedError(what, "a step of this kind without its settings: this is a defect of agentflow")


def rejected(step: str, decision: Mapping[str, Any]) -> GuardrailBlockedError:
    """Return the error of a step that a person rejected."""
    comment = decision.get("comment") or "no comment"
    return GuardrailBlockedError(
        f"approval {step}", Hook.RESUME, f"rejected by {decision.get('by') or 'someone'}: {comment}"
    )
