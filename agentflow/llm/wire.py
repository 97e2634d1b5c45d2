"""The OpenAI-compatible chat format: a request's body, an answer's body, a stream put together."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentflow.core.protocols import Message, ToolCall
from agentflow.llm.structured import parse_json
from agentflow.llm.usage import Tokens, read_usage


@dataclass(frozen=True)
class Answer:
    """What an endpoint said. ``tokens`` is None where it sent no usage that can be believed."""

    text: str
    calls: tuple[tuple[str, str, Any], ...]
    """Tool calls as ``(id, name, arguments)``, the arguments as sent."""
    tokens: Tokens | None
    finish_reason: str
    model: str
    refusal: str = ""


def wire_message(message: Message) -> dict[str, Any]:
    """Return a message as an endpoint reads it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["content"] = message.content or None
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return wire


def request_body(
    model: str,
    messages: Sequence[Message],
    schema: dict[str, Any] | None,
    tools: Sequence[dict[str, Any]],
    *,
    stream: bool,
) -> dict[str, Any]:
    """Return the body of a request, without its cap on tokens."""
    body: dict[str, Any] = {"model": model, "messages": [wire_message(message) for message in messages]}
    if schema is not None:
        name = str(schema.get("title", "answer"))
        safe = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)[:64]
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": safe, "schema": schema}}
    if tools:
        body["tools"] = list(tools)
    if stream:
        # Without this an endpoint streams no usage, and the budget would silently read 0.
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def read_answer(body: Any) -> Answer:
    """Return the first choice of an answer's body.

    Raises:
        ValueError: the body is not such an answer.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        calls = tuple(
            (str(call.get("id") or f"call_{index}"), str(function["name"]), function.get("arguments"))
            for index, call in enumerate(message.get("tool_calls") or ())
            for function in [call["function"]]
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError("a body without choices[0].message") from None
    if not isinstance(text, str):
        raise ValueError("a message whose content is not text")
    return Answer(
        text,
        calls,
        read_usage(body.get("usage"), answered=bool(text or calls)),
        str(choice.get("finish_reason") or ""),
        str(body.get("model") or ""),
        str(message.get("refusal") or ""),
    )


def read_calls(answer: Answer, tools: Sequence[dict[str, Any]]) -> tuple[ToolCall, ...]:
    """Return an answer's tool calls with their arguments parsed.

    Raises:
        ValueError: a tool that was not declared, or arguments that are no JSON object.
    """
    declared = {tool.get("function", {}).get("name") for tool in tools}
    calls = []
    for identity, name, raw in answer.calls:
        if name not in declared:
            raise ValueError(f"a call of the tool {name!r}, which was not offered")
        try:
            arguments = parse_json(raw or "{}") if isinstance(raw, str | None) else raw
        except ValueError as error:
            raise ValueError(f"arguments of the tool {name!r}: {error}") from None
        if not isinstance(arguments, dict):
            raise ValueError(f"arguments of the tool {name!r} that are not an object")
        calls.append(ToolCall(id=identity, name=name, arguments=arguments))
    return tuple(calls)


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the data of each server-sent event; comments and other fields are passed over.

    Lines end at line feeds only: ``str.splitlines`` would also cut JSON texts at U+2028 and its like.
    """
    rest, data = b"", list[str]()
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in (raw.rstrip(b"\r") for raw in lines):
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
            elif not line and data:
                yield "\n".join(data)
                data = []
    if rest.startswith(b"data:"):
        data.append(rest[5:].removeprefix(b" ").decode("utf-8", "replace"))
    if data:
        yield "\n".join(data)


class StreamedAnswer:
    """Puts a stream's chunks together into the body that the same answer has unstreamed."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._usage: Any = None
        self._model = ""
        self.finish_reason = ""

    def add(self, chunk: Any) -> str:
        """Take a chunk in and return its piece of text.

        Raises:
            ValueError: it is not a chunk.
        """
        try:
            self._model = chunk.get("model") or self._model
            self._usage = chunk.get("usage") or self._usage
            choices = chunk.get("choices") or [{}]
            self.finish_reason = choices[0].get("finish_reason") or self.finish_reason
            delta = choices[0].get("delta") or {}
            for position, part in enumerate(delta.get("tool_calls") or ()):
                self._add_call(part, position)
            self._refusal.append(str(delta.get("refusal") or ""))
            piece = delta.get("content") or ""
            self._text.append(piece + "")
        except (AttributeError, IndexError, KeyError, TypeError):
            raise ValueError("a streamed chunk that is not one") from None
        return str(piece)

    def _add_call(self, part: dict[str, Any], position: int) -> None:
        call = self._calls.setdefault(part.get("index", position), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] += function.get("name") or ""
        arguments = function.get("arguments") or ""
        call["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def body(self) -> dict[str, Any]:
        """Return the whole."""
        message = {
            "content": "".join(self._text),
            "refusal": "".join(self._refusal),
            "tool_calls": [
                {"id": call["id"], "function": {"name": call["name"], "arguments": call["arguments"]}}
                for call in self._calls.values()
            ],
        }
        choice = {"message": message, "finish_reason": self.finish_reason}
        return {"model": self._model, "choices": [choice], "usage": self._usage}
