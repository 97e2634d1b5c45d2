"""`LangChainChat`: any LangChain chat model behind the same seam."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from agentflow.core.amounts import Amounts
from agentflow.core.errors import (
    AgentflowError,
    InvalidInputError,
    MissingExtraError,
    ModelError,
    UnsupportedCallError,
)
from agentflow.core.protocols import Completion, Message, ToolCall
from agentflow.llm.prices import Price, price_for
from agentflow.llm.retry import RETRYABLE_STATUS
from agentflow.llm.structured import check_schema, parse_object
from agentflow.llm.usage import Tokens, tokens_bound

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage

_CAP_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")
"""What LangChain's integrations call the cap on an answer."""


class LangChainChat:
    """A LangChain chat model (``BaseChatModel``), its usage read from ``usage_metadata``.

    It is asked once: retries are the LangChain model's own. A model that cannot be held to a schema is told
    the schema in words, and its text is parsed. A schema's answer is not streamed: ``on_text`` gets it whole.

    Args:
        name: what the workflow calls the model.
        model: the LangChain object; its own field for the longest answer is set for each call.
        price: ``{input_per_million_usd, output_per_million_usd}``; without it, the model's own address or
            provider must lead to a price on the public list.

    Raises:
        MissingExtraError: ``langchain-core`` is not installed.
        InvalidInputError: this is not a LangChain chat model, or its price is not known.
    """

    def __init__(self, name: str, model: BaseChatModel, price: Mapping[str, Any] | None = None) -> None:
        where = f"models.{name}"
        if not is_langchain_model(model):
            raise InvalidInputError(where, type(model).__name__, "a LangChain BaseChatModel object")
        self.name, self._model = name, model
        self.model = _model_name(model)
        self.price: Price = price_for(
            where,
            self.model,
            declared=price,
            base_url=_text_field(model, "openai_api_base", "base_url"),
            provider_id=_provider(model),
        )

    def __repr__(self) -> str:
        return f"LangChainChat(name={self.name!r}, model={self.model!r})"

    def estimate(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Amounts:
        """Return an upper bound of what `complete` may cost."""
        return self._amounts(tokens_bound(messages, max_tokens, schema, tools))

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
        max_tokens: int = 1024,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Answer ``messages``; see `ChatModel.complete`.

        Raises:
            ModelError: the model failed, or its answer cannot be used.
            UnsupportedCallError: the model takes no tools.
            InvalidInputError: the schema is not usable; nothing was sent.
        """
        check_schema(schema)
        bound = tokens_bound(messages, max_tokens, schema, tools)
        chat = [_langchain_message(message) for message in messages]
        seen = _Seen()
        try:
            answer = await self._ask(chat, schema, tools, max_tokens, on_text, seen)
        except AgentflowError:
            raise
        except Exception as error:
            raise self._failed(error, seen.tokens, bound) from None
        # Without usage, and where the model has no field for a cap, the text itself may be the larger bound.
        longest = max(max_tokens, len(str(answer.text).encode("utf-8", "surrogatepass")))
        tokens = _usage(answer) or seen.tokens or replace(bound, output=longest)
        data, calls = self._understood(answer, schema, tools, tokens)
        if on_text is not None and schema is not None:
            on_text(answer.text)
        metadata = answer.response_metadata
        return Completion(
            text=str(answer.text),
            data=data,
            tool_calls=calls,
            usage=self._amounts(tokens),
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            usage_measured=tokens.measured,
            model=str(metadata.get("model_name") or self.model),
            finish_reason=str(metadata.get("finish_reason") or metadata.get("stop_reason") or ""),
        )

    async def _ask(
        self,
        chat: list[BaseMessage],
        schema: dict[str, Any] | None,
        tools: Sequence[dict[str, Any]],
        max_tokens: int,
        on_text: Callable[[str], None] | None,
        seen: _Seen,
    ) -> AIMessage:
        model, capped = _capped(self._model, max_tokens)
        extra: dict[str, Any] = {} if capped else {"max_tokens": max_tokens}
        config: Any = {"callbacks": [seen.handler()]}
        if schema is not None and not tools:
            answer = await _by_schema(model, chat, schema, config) if capped else None
            return answer or await model.ainvoke([*chat, _in_words(schema)], config, **extra)
        runnable: Any = self._with_tools(model, tools) if tools else model
        chat = chat if schema is None else [*chat, _in_words(schema)]
        if on_text is None or schema is not None:
            return await runnable.ainvoke(chat, config, **extra)  # type: ignore[no-any-return]
        whole: Any = None
        async for chunk in runnable.astream(chat, config, **extra):
            whole = chunk if whole is None else whole + chunk
            if chunk.text:
                on_text(chunk.text)
        return whole  # type: ignore[no-any-return]

    def _with_tools(self, model: BaseChatModel, tools: Sequence[dict[str, Any]]) -> Any:
        try:
            return model.bind_tools(list(tools))
        except NotImplementedError:
            raise UnsupportedCallError(self.name, "tools", ("text", "schema")) from None

    def _understood(
        self,
        answer: AIMessage,
        schema: dict[str, Any] | None,
        tools: Sequence[dict[str, Any]],
        tokens: Tokens,
    ) -> tuple[Any, tuple[ToolCall, ...]]:
        try:
            if answer.invalid_tool_calls and tools:
                name = answer.invalid_tool_calls[0]["name"]
                raise ValueError(f"arguments of the tool {name!r} that are no JSON object")
            calls = _calls(answer, tools)
            return (_object(answer, schema) if schema is not None and not calls else None), calls
        except ValueError as error:
            raise ModelError(
                self.name,
                f"the answer cannot be used: {error}",
                "Ask for less at once, or use a model that keeps to schemas and tools.",
                retryable=True,
                spent=self._amounts(tokens),
            ) from None

    def _failed(self, error: Exception, seen: Tokens | None, bound: Tokens) -> ModelError:
        # An HTTP status is a refusal, and free; anything else may have been paid for.
        status = getattr(error, "status_code", None)
        spent = seen or (Tokens(0, 0) if isinstance(status, int) and status >= 400 else bound)
        text = f"{type(error).__name__}: {error}"
        for value in vars(self._model).values():
            if isinstance(value, SecretStr) and value.get_secret_value():
                text = text.replace(value.get_secret_value(), "***")
        return ModelError(
            self.name,
            " ".join(text.split())[:300],
            "Check this model's settings and its provider.",
            retryable=_transient(error, status),
            spent=self._amounts(spent),
        )

    def _amounts(self, tokens: Tokens) -> Amounts:
        return Amounts(tokens=tokens.input + tokens.output, micro_usd=self.price.micro_usd(tokens))


def is_langchain_model(model: object) -> bool:
    """Return whether an object is a LangChain chat model.

    Raises:
        MissingExtraError: ``langchain-core`` is not installed.
    """
    try:
        from langchain_core.language_models import BaseChatModel
    except ImportError:
        raise MissingExtraError("provider: langchain", "langchain", "langchain-core") from None
    return isinstance(model, BaseChatModel)


class _Seen:
    """Notes the usage of a paid answer even where LangChain then fails to parse it and raises."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None

    def handler(self) -> Any:
        from langchain_core.callbacks import BaseCallbackHandler

        seen = self

        class Handler(BaseCallbackHandler):
            def on_llm_end(self, response: Any, **_: Any) -> None:
                for generation in (one for many in response.generations for one in many):
                    tokens = _usage(getattr(generation, "message", None))
                    if tokens is not None:
                        seen.tokens = tokens if seen.tokens is None else seen.tokens.plus(tokens)

        return Handler()


def _transient(error: Exception, status: object) -> bool:
    if isinstance(status, int):
        return status in RETRYABLE_STATUS
    name = type(error).__name__
    return isinstance(error, OSError) or "Timeout" in name or "Connect" in name


def _usage(message: Any) -> Tokens | None:
    usage = getattr(message, "usage_metadata", None)
    if not usage or not usage.get("input_tokens") or not usage.get("output_tokens"):
        return None
    details = usage.get("input_token_details") or {}
    return Tokens(usage["input_tokens"], usage["output_tokens"], details.get("cache_read") or 0)


def _capped(model: BaseChatModel, max_tokens: int) -> tuple[BaseChatModel, bool]:
    """Return a copy that is held to ``max_tokens`` and reports a stream's usage, where it has such fields."""
    fields = type(model).model_fields
    cap = next((field for field in _CAP_FIELDS if field in fields), None)
    update: dict[str, Any] = {cap: max_tokens} if cap else {}
    if "stream_usage" in fields:
        update["stream_usage"] = True
    return model.model_copy(update=update), cap is not None


async def _by_schema(
    model: BaseChatModel, chat: list[BaseMessage], schema: dict[str, Any], config: Any
) -> AIMessage | None:
    """Return the answer of a model that can be held to a schema, or None where it cannot."""
    try:
        named = {"title": "answer", "description": "The answer.", **schema}
        runnable: Any = model.with_structured_output(named, include_raw=True)
    except NotImplementedError:
        return None
    result = await runnable.ainvoke(chat, config)
    raw: AIMessage = result["raw"]
    if isinstance(result["parsed"], dict):
        # What LangChain parsed may have come as the arguments of a tool call, with no text at all.
        return raw.model_copy(update={"content": json.dumps(result["parsed"]), "tool_calls": []})
    return raw.model_copy(update={"tool_calls": []})


def _in_words(schema: dict[str, Any]) -> BaseMessage:
    from langchain_core.messages import HumanMessage

    return HumanMessage(
        f"Answer with one JSON object and nothing else. It must fit this JSON schema:\n{json.dumps(schema)}"
    )


def _object(answer: AIMessage, schema: dict[str, Any]) -> dict[str, Any]:
    return parse_object(str(answer.text), schema)


def _calls(answer: AIMessage, tools: Sequence[dict[str, Any]]) -> tuple[ToolCall, ...]:
    declared = {tool.get("function", {}).get("name") for tool in tools}
    for call in answer.tool_calls:
        if call["name"] not in declared:
            raise ValueError(f"a call of the tool {call['name']!r}, which was not offered")
    return tuple(
        ToolCall(id=str(call["id"] or f"call_{index}"), name=call["name"], arguments=call["args"])
        for index, call in enumerate(answer.tool_calls)
    )


def _langchain_message(message: Message) -> BaseMessage:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    match message.role:
        case "system" | "developer":
            return SystemMessage(message.content)
        case "user":
            return HumanMessage(message.content)
        case "assistant":
            calls: Any = [{"id": c.id, "name": c.name, "args": c.arguments} for c in message.tool_calls]
            return AIMessage(message.content, tool_calls=calls)
        case "tool":
            return ToolMessage(message.content, tool_call_id=message.tool_call_id or "")
    raise InvalidInputError("role of a message", repr(message.role), "system, user, assistant or tool")


def _text_field(model: object, *names: str) -> str | None:
    values = (getattr(model, name, None) for name in names)
    return next((value for value in values if isinstance(value, str) and value), None)


def _model_name(model: object) -> str:
    return _text_field(model, "model_name", "model", "model_id") or type(model).__name__


def _provider(model: Any) -> str | None:
    # LangChain's own tracers learn the provider in the same way.
    return model._get_ls_params().get("ls_provider") or None
