"""agentflow: guardrailed agent workflows around world models.

What a project's tools, guardrails and scorers import, and the SDK's face. Names load when they are first used, so
that ``import agentflow`` stays cheap and needs neither torch nor langgraph.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from agentflow.core.amounts import Amounts
    from agentflow.core.errors import (
        AgentflowError,
        BudgetExceededError,
        GoalNotUnderstoodError,
        GuardrailBlockedError,
        InvalidInputError,
        MissingExtraError,
        MissingSecretError,
        ModelError,
        RunCancelledError,
        RunError,
        StepFailedError,
        StepTimeoutError,
        StorageError,
        UnknownNameError,
        UnsupportedCallError,
        UserError,
        WeightsError,
        WorkflowFileError,
    )
    from agentflow.core.protocols import Call, ChatModel, Completion, Message
    from agentflow.core.records import Artifact, Envelope, RunStatus, Score, StepStatus, Subject, Verdict
    from agentflow.core.registry import guardrail, scorer, tool
    from agentflow.execution.events import (
        Event,
        GuardrailRan,
        ItemsProgress,
        Progress,
        RunFinished,
        RunStarted,
        StepFinished,
        StepStarted,
        Waiting,
    )
    from agentflow.sdk import Agentflow, RunResult
    from agentflow.worldmodel.contract import Rollout, WorldModel

_HOMES = {
    "agentflow.core.amounts": ("Amounts",),
    "agentflow.core.errors": (
        "AgentflowError", "BudgetExceededError", "GoalNotUnderstoodError", "GuardrailBlockedError",
        "InvalidInputError", "MissingExtraError", "MissingSecretError", "ModelError", "RunCancelledError",
        "RunError", "StepFailedError", "StepTimeoutError", "StorageError", "UnknownNameError",
        "UnsupportedCallError", "UserError", "WeightsError", "WorkflowFileError",
    ),
    "agentflow.core.protocols": ("Call", "ChatModel", "Completion", "Message"),
    "agentflow.core.records": ("Artifact", "Envelope", "RunStatus", "Score", "StepStatus", "Subject", "Verdict"),
    "agentflow.core.registry": ("guardrail", "scorer", "tool"),
    "agentflow.execution.events": (
        "Event", "GuardrailRan", "ItemsProgress", "Progress", "RunFinished", "RunStarted", "StepFinished",
        "StepStarted", "Waiting",
    ),
    "agentflow.sdk": ("Agentflow", "RunResult"),
    "agentflow.worldmodel.contract": ("Rollout", "WorldModel"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agentflow",
    "AgentflowError",
    "Amounts",
    "Artifact",
    "BudgetExceededError",
    "Call",
    "ChatModel",
    "Completion",
    "Envelope",
    "Event",
    "GoalNotUnderstoodError",
    "GuardrailBlockedError",
    "GuardrailRan",
    "InvalidInputError",
    "ItemsProgress",
    "Message",
    "MissingExtraError",
    "MissingSecretError",
    "ModelError",
    "Progress",
    "Rollout",
    "RunCancelledError",
    "RunError",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "RunStatus",
    "Score",
    "StepFailedError",
    "StepFinished",
    "StepStarted",
    "StepStatus",
    "StepTimeoutError",
    "StorageError",
    "Subject",
    "UnknownNameError",
    "UnsupportedCallError",
    "UserError",
    "Verdict",
    "Waiting",
    "WeightsError",
    "WorkflowFileError",
    "WorldModel",
    "__version__",
    "guardrail",
    "scorer",
    "tool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'agentflow' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
