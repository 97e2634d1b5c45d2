"""The seams: few, small, typed. Everything else is behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from agentflow.core.amounts import NOTHING, Amounts
from agentflow.core.errors import BudgetExceededError
from agentflow.core.records import Artifact


class Message(BaseModel):
    """One message of a chat. ``tool_calls`` and ``tool_call_id`` as in OpenAI-compatible APIs."""

    model_config = ConfigDict(frozen=True)

    role: str
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class ToolCall(BaseModel):
    """A tool that a model wants called; ``arguments`` is the parsed JSON object."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    arguments: dict[str, Any]


class Completion(BaseModel):
    """A model's answer. ``usage`` is never missing: measured, or (``usage_measured`` False) an upper bound."""

    model_config = ConfigDict(frozen=True)

    text: str
    data: Any = None
    """The parsed object when a schema was asked for."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Amounts
    input_tokens: int = 0
    output_tokens: int = 0
    usage_measured: bool = True
    model: str = ""
    finish_reason: str = ""


@runtime_checkable
class ChatModel(Protocol):
    """A language model."""

    name: str

    def estimate(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Amounts:
        """Return an upper bound of what `complete` may cost."""
        ...

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
        max_tokens: int = 1024,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Answer ``messages``.

        Args:
            messages: the conversation.
            schema: a JSON schema that the answer must satisfy; the object is in ``Completion.data``.
            tools: tool declarations in OpenAI's ``function`` form.
            max_tokens: a hard cap on the answer.
            on_text: called with each piece of text as it arrives; given, the answer is streamed.

        Raises:
            ModelError: the endpoint failed; ``spent`` says what was used before.
        """
        ...


class Meter:
    """What a call has spent of its hold. A callee charges it and is stopped at the cap."""

    cut_off = False
    """Whether the call's time is over, and whatever still works for it must stop."""

    def __init__(self, scope: str, cap: Amounts) -> None:
        self.scope, self.cap = scope, cap
        self.spent = NOTHING

    def require(self, amounts: Amounts) -> None:
        """Refuse, before any work, amounts that do not fit into what is left.

        Raises:
            BudgetExceededError: they do not fit; nothing was charged.
        """
        above = self.spent.plus(amounts).first_above(self.cap)
        if above:
            cap = getattr(self.cap, above)
            left = max(0, cap - getattr(self.spent, above))
            raise BudgetExceededError(self.scope, above, getattr(amounts, above), left, cap)

    def charge(self, amounts: Amounts) -> None:
        """Book what was really spent; work that was done is booked even where it passes the cap."""
        self.spent = self.spent.plus(amounts)

    def left(self) -> Amounts:
        """Return what the hold still allows."""
        return self.cap.minus(self.spent)


class ArtifactStore(Protocol):
    """Files by content."""

    def put(self, data: bytes, media_type: str, name: str, meta: dict[str, Any] | None = None) -> Artifact:
        """Keep bytes."""
        ...

    def put_file(
        self, path: Path, media_type: str, name: str, meta: dict[str, Any] | None = None
    ) -> Artifact:
        """Move a finished file in."""
        ...

    def path(self, reference: str) -> Path:
        """Return where ``artifact:<digest>`` lies."""
        ...


class Progress(Protocol):
    """Receives what a person should see while work goes on."""

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say what is being done; ``done`` of ``total`` where it can be counted."""
        ...


@dataclass(frozen=True)
class Call:
    """What the envelope gives a tool beside its inputs: its hold, its seed, where to put files.

    A tool asks for it with a keyword-only parameter annotated ``Call``.
    """

    run_id: str
    step: str
    seed: int
    meter: Meter
    """The hold."""
    artifacts: ArtifactStore
    progress: Progress
    scratch: Path
    run: Mapping[str, Any] = field(default_factory=dict)
    """``inputs`` and ``steps`` so far."""

    @property
    def stopped(self) -> bool:
        """Whether the call's time is over: a tool that looks here between two pieces of work ends in order."""
        return bool(self.meter.cut_off)
