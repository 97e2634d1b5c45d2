"""`ScriptedModel`: a language model in this process that says what a test tells it to say."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agentflow.core.amounts import Amounts
from agentflow.core.errors import ModelError
from agentflow.core.protocols import Completion, Message, ToolCall
from agentflow.llm.structured import parse_object
from agentflow.llm.usage import tokens_bound

USAGE = (10, 5)
"""Input and output tokens of an answer that is not told otherwise."""


@dataclass(frozen=True)
class ModelRequest:
    """One request that a model got."""

    messages: tuple[Message, ...]
    schema: dict[str, Any] | None
    tools: tuple[dict[str, Any], ...]
    max_tokens: int

    @property
    def text(self) -> str:
        """The content of the last message."""
        return self.messages[-1].content if self.messages else ""


Reply = str | dict[str, Any] | Completion | Exception
"""What to answer: text, an object (as JSON), a whole `Completion`, or an error to raise."""


def answer(
    value: str | dict[str, Any],
    *,
    usage: tuple[int, int] = USAGE,
    micro_usd: int = 0,
    finish_reason: str = "stop",
) -> Completion:
    """Return an answer that says what it cost: ``usage`` are input and output tokens."""
    text = value if isinstance(value, str) else json.dumps(value)
    return Completion(
        text=text, data=None if isinstance(value, str) else value, input_tokens=usage[0], output_tokens=usage[1],
        usage=Amounts(tokens=sum(usage), micro_usd=micro_usd), finish_reason=finish_reason,
    )  # fmt: skip


def tool_calls(
    *calls: tuple[str, dict[str, Any]], usage: tuple[int, int] = USAGE, micro_usd: int = 0
) -> Completion:
    """Return an answer that wants tools called: pairs of a name and its arguments."""
    wanted = tuple(
        ToolCall(id=f"call_{index}", name=name, arguments=given) for index, (name, given) in enumerate(calls)
    )
    said = answer("", usage=usage, micro_usd=micro_usd, finish_reason="tool_calls")
    return said.model_copy(update={"tool_calls": wanted})


class ScriptedModel:
    """A `ChatModel` that answers from a list, one reply a request, or with what a function makes of the request.

    It takes the place of a model of the file, whatever that one's provider is::

        model = ScriptedModel([{"understood": True, "body": "red block"}, ModelError("m", "is down", "Wait.")])
        with Agentflow.open(project, models={"planner": model}) as flow:
            flow.run("plan_push", goal="…")
        assert "red block" in model.requests[0].text

    ``usage`` (input and output tokens) and ``micro_usd`` are what an answer costs that does not say so itself. As
    with a real model, text where a schema asks for an object is a paid answer that cannot be used.
    """

    def __init__(
        self,
        replies: Iterable[Reply] | Callable[[ModelRequest], Reply],
        *,
        name: str = "scripted",
        usage: tuple[int, int] = USAGE,
        micro_usd: int = 0,
    ) -> None:
        self.name = name
        self.requests: list[ModelRequest] = []
        self._usage, self._micro_usd = usage, micro_usd
        self._function = replies if callable(replies) else None
        self._replies: deque[Reply] = deque(() if callable(replies) else replies)

    @property
    def unused(self) -> int:
        """How many replies nobody has asked for yet."""
        return len(self._replies)

    def estimate(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Amounts:
        """Return an upper bound, as a real model's adapter makes it of the messages; ``micro_usd`` is the set one."""
        bound = tokens_bound(messages, max_tokens, schema, tools)
        return Amounts(tokens=bound.input + bound.output, micro_usd=self._micro_usd)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
        max_tokens: int = 1024,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Give the next reply.

        Raises:
            ModelError: the script is at its end, or the reply is no object where one was asked for.
        """
        request = ModelRequest(tuple(messages), schema, tuple(tools), max_tokens)
        self.requests.append(request)
        said = self._completion(self._next(request))
        if on_text is not None and said.text:
            on_text(said.text)
        if schema is None or said.tool_calls or said.data is not None:
            return said
        try:
            return said.model_copy(update={"data": parse_object(said.text, schema)})
        except ValueError as error:
            raise ModelError(
                self.name,
                f"the answer cannot be used: {error}",
                "Script another one.",
                retryable=True,
                spent=said.usage,
            ) from None

    def _next(self, request: ModelRequest) -> Reply:
        if self._function is not None:
            return self._function(request)
        if not self._replies:
            raise ModelError(
                self.name,
                f"the script has no reply for request {len(self.requests)}, which ends: {request.text[-200:]!r}",
                "Give `ScriptedModel` one more reply, or find out why it was asked again.",
            )  # fmt: skip
        return self._replies.popleft()

    def _completion(self, reply: Reply) -> Completion:
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Completion):
            return reply
        return answer(reply, usage=self._usage, micro_usd=self._micro_usd)
