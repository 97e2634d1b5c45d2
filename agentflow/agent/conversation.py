"""`Conversation`: what a step and a language model say to each other; every chat passes the envelope."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentflow.agent.toolbox import Toolbox
from agentflow.core.amounts import Amounts
from agentflow.core.errors import ModelError
from agentflow.core.protocols import Call, ChatModel, Completion, Message
from agentflow.core.records import Hook
from agentflow.execution.call import InnerCallError, Rung, StepCall
from agentflow.execution.context import RunContext
from agentflow.execution.step import perform
from agentflow.llm.structured import parse_object

MAX_TOKENS = 1024
"""Of one answer, where the file does not say."""
LEAST_TOKENS = 256
"""Of one answer, where a budget has no room for more."""
NO_MORE_TOOLS = "No further tool can be called. Answer now, with what you know."


@dataclass(frozen=True)
class Said:
    """What came of one chat: the model's answer, or the problem with one that is paid for and says nothing.

    ``offered`` are the tools that the model could call.
    """

    completion: Completion | None
    problem: str
    offered: tuple[str, ...]


@dataclass
class Conversation:
    """A step's talk with a language model, on the step's own budget and under its guardrails.

    Each chat has a place of its own, ``<step>/chat[n]``: a run that goes on takes over what was said there.

    Attributes:
        context: the run.
        call: the step.
        chat: the model.
        tools: what the model may call.
        provider: the model's, for spans.
        max_tokens: of one answer.
        turn: how many chats there were.
    """

    context: RunContext
    call: StepCall
    chat: ChatModel
    tools: Toolbox
    provider: str = ""
    max_tokens: int = MAX_TOKENS
    turn: int = 0
    _labels: tuple[str, ...] = field(default=("model",))
    """Whose words the conversation holds, beside those of the step itself."""

    async def ask(
        self, messages: Sequence[Message], schema: dict[str, Any] | None, *, with_tools: bool = True
    ) -> Said:
        """Return what the model says next.

        An endpoint that holds a model to a schema keeps it from calling tools (vLLM and Ollama do): where tools are
        offered, the model is told the schema in words.

        Args:
            messages: the conversation so far, a system message first.
            schema: of the answer, a JSON schema of an object; None where the answer is text.
            with_tools: whether tools are offered.

        Raises:
            InnerCallError: the endpoint failed, a guardrail refused, or the budget has no room.
        """
        self.turn += 1
        if schema is not None:
            first, *rest = messages
            messages = [
                first.model_copy(update={"content": f"{first.content}\n\n{_in_words(schema)}"}),
                *rest,
            ]
        names = self.tools.names if with_tools else ()
        envelope = await perform(
            self.context,
            StepCall(
                id=self.call.id, path=f"{self.call.path}/chat[{self.turn}]", iteration=self.call.iteration,
                kind="agent_call", name=f"chat {self.chat.name}", inputs=lambda: self._inputs(messages, names),
                body=lambda ticket, given: self._complete(ticket, given, schema), scope=self.call.scope,
                estimate=lambda given: self.chat.estimate(
                    _messages(given), given["max_tokens"], schema=schema if given["held_to_schema"] else None,
                    tools=self.tools.declarations(given["tools"]),
                ),
                before=Hook.TOOL_ARGS, after=Hook.TOOL_RESULT, guards=self.call.guards, labels=self._labels,
                ladder=_ladder(self.max_tokens, names), degrade=self.call.degrade, view=self.call.view,
            ),
        )  # fmt: skip
        if not envelope.usable:
            raise InnerCallError.of(envelope, f"chat {self.chat.name}")
        self.call.notes.rungs += [f"chat {self.turn}: {rung}" for rung in envelope.rungs]
        said = envelope.output
        completion = said["completion"] and Completion.model_validate(said["completion"])
        return Said(completion, str(said["problem"]), tuple(said["offered"]))

    async def use_tools(self, completion: Completion, offered: Sequence[str]) -> list[Message]:
        """Call what the model wants called, of what it was offered, and return what is to be said next.

        Raises:
            InnerCallError: the budget has no room, see `Toolbox.use`.
        """
        wanted = completion.tool_calls
        told = await self.tools.use(wanted, self.turn, offered, self._labels)
        self._labels = ("model", "tool")
        answers = [
            Message(role="tool", content=text, tool_call_id=each.id)
            for each, text in zip(wanted, told, strict=True)
        ]
        return [Message(role="assistant", content=completion.text, tool_calls=wanted), *answers]

    def _inputs(self, messages: Sequence[Message], names: tuple[str, ...]) -> dict[str, Any]:
        return {
            "messages": [message.model_dump(mode="json") for message in messages],
            "max_tokens": self.max_tokens,
            "tools": list(names),
            "held_to_schema": not names,
        }

    async def _complete(
        self, ticket: Call, given: dict[str, Any], schema: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return what the model says; an answer that was paid for and cannot be read is a problem, and booked."""
        asked, most = _messages(given), given["max_tokens"]
        tools = self.tools.declarations(given["tools"])
        held = schema if given["held_to_schema"] else None
        completion, problem = None, ""
        try:
            with self.context.tracer.chat(
                self.chat.name, provider=self.provider, messages=asked, max_tokens=most
            ) as span:
                completion = await self.chat.complete(asked, schema=held, tools=tools, max_tokens=most)
                span.completion(completion)
        except ModelError as error:
            ticket.meter.charge(error.spent)
            if not error.retryable or error.spent == Amounts():
                raise
            problem = error.problem
        else:
            ticket.meter.charge(completion.usage)
            completion, problem = _read(completion, schema)
        return {
            "completion": completion and completion.model_dump(mode="json"),
            "problem": problem,
            "offered": [tool["function"]["name"] for tool in tools],
        }


def _read(completion: Completion, schema: dict[str, Any] | None) -> tuple[Completion | None, str]:
    """Return an answer with the object that it holds, where one was asked for; or what is wrong with it."""
    if schema is None or completion.tool_calls or isinstance(completion.data, dict):
        return completion, ""
    try:
        return completion.model_copy(update={"data": parse_object(completion.text, schema)}), ""
    except ValueError as error:
        cut = " that was cut off at its longest" if completion.finish_reason == "length" else ""
        return None, f"the answer cannot be used: {error}{cut}"


def _messages(given: dict[str, Any]) -> list[Message]:
    return [Message.model_validate(message) for message in given["messages"]]


def _in_words(schema: dict[str, Any]) -> str:
    text = json.dumps(schema, ensure_ascii=False)
    return f"Your answer is one JSON object and nothing else. It fits this JSON schema:\n{text}"


def _ladder(max_tokens: int, tools: Sequence[str]) -> list[Rung]:
    """Return what a chat gives up: tokens of the answer, then the rounds in which further tools are called."""
    rungs: list[Rung] = []
    while max_tokens > LEAST_TOKENS:
        fewer = max(LEAST_TOKENS, max_tokens // 2)
        rungs.append((f"{max_tokens} → {fewer} tokens of an answer", _with_tokens(fewer)))
        max_tokens = fewer
    if tools:
        rungs.append(("no further calls of tools", _without_tools))
    return rungs


def _with_tokens(count: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: {**given, "max_tokens": min(count, given["max_tokens"])}


def _without_tools(given: dict[str, Any]) -> dict[str, Any]:
    told = Message(role="user", content=NO_MORE_TOOLS).model_dump(mode="json")
    return {**given, "tools": [], "messages": [*given["messages"], told]}
