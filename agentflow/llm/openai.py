"""`OpenAIChat`: any endpoint that speaks OpenAI's chat completions (vLLM, Ollama, llama.cpp, hosted)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, ModelError, UnknownNameError
from agentflow.core.protocols import Completion, Message, ToolCall
from agentflow.llm.endpoint import AttemptError, Endpoint, malformed
from agentflow.llm.prices import Price, price_for
from agentflow.llm.retry import wait_s
from agentflow.llm.structured import check_schema, parse_object
from agentflow.llm.usage import Tokens, tokens_bound
from agentflow.llm.wire import Answer, read_calls, request_body

OPTIONS = frozenset(
    {
        "chat_template_kwargs",
        "frequency_penalty",
        "min_p",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    }
)
"""What may be sent beside the request itself. Nothing here multiplies the cost, as ``n`` would."""


class OpenAIChat:
    """A language model behind an OpenAI-compatible ``/v1/chat/completions``.

    An attempt that the endpoint refuses or that never reaches it (429, 5xx, no connection) costs nothing and
    is repeated up to ``max_attempts`` in all. One that may have been charged (a malformed answer, a stall, a
    connection lost after the request went out) counts in ``usage``, and at most ``max_paid_attempts`` of
    these are made, which is what `estimate` reserves for. A stream is never repeated once a piece of it was
    handed on.

    Args:
        name: what the workflow calls the model.
        base_url: such as ``https://api.openai.com/v1`` or ``http://localhost:8000``.
        model: the endpoint's own name of the model.
        api_key: sent as bearer token.
        price: ``{input_per_million_usd, output_per_million_usd}``; without it, see `price_for`.
        timeout_s: the longest silence of the endpoint, also in the middle of a stream.
        max_attempts: attempts in all.
        max_paid_attempts: attempts that the endpoint may charge for.
        options: such as ``{temperature: 0, seed: 1}``; see ``OPTIONS``.
        sleep: waits between attempts.

    Raises:
        InvalidInputError: an argument is not usable, or the model has no known price.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        model: str,
        api_key: str | SecretStr | None = None,
        price: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = 60.0,
        max_attempts: int = 4,
        max_paid_attempts: int = 2,
        options: Mapping[str, Any] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        where = f"models.{name}"
        self.name, self.model = name, model
        key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        self._endpoint = Endpoint(where, base_url, key, _positive(f"{where}.timeout_s", timeout_s))
        self._max_attempts = int(_positive(f"{where}.max_attempts", max_attempts))
        self._max_paid = int(_positive(f"{where}.max_paid_attempts", max_paid_attempts))
        self._options = dict(options or {})
        for option in self._options:
            if option not in OPTIONS:
                raise UnknownNameError(f"option of {where}", option, OPTIONS)
        self.price: Price = price_for(where, model, declared=price, base_url=base_url)
        # OpenAI's reasoning models refuse `max_tokens`; other endpoints may not know the newer name.
        hosted = (self._endpoint.url.host or "").endswith(("openai.com", "openai.azure.com"))
        self._cap_field = "max_completion_tokens" if hosted else "max_tokens"
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"OpenAIChat(name={self.name!r}, url={self._endpoint.shown!r}, model={self.model!r})"

    def estimate(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Amounts:
        """Return an upper bound of what `complete` may cost, its paid repetitions included."""
        bound = tokens_bound(messages, max_tokens, schema, tools)
        one = self.price.micro_usd(bound)
        total = bound.input + bound.output
        return Amounts(tokens=total * self._max_paid, micro_usd=one * self._max_paid)

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
            ModelError: no usable answer came; ``spent_tokens`` counts all attempts.
            InvalidInputError: the schema or ``max_tokens`` is not usable; nothing was sent.
        """
        check_schema(schema)
        body = request_body(self.model, messages, schema, tools, stream=on_text is not None)
        body |= {self._cap_field: int(_positive("max_tokens", max_tokens)), **self._options}
        tally = _Tally(self.price, tokens_bound(messages, max_tokens, schema, tools))
        shown = _Shown(on_text)
        attempt = 0
        async with self._endpoint.client() as client:
            while True:
                attempt += 1
                try:
                    answer = await self._endpoint.ask(client, body, shown.take if on_text else None)
                    data, calls = _understood(answer, schema, tools)
                    tally.add(answer.tokens)
                    return tally.completion(answer, data, calls, self.model)
                except AttemptError as failure:
                    if failure.maybe_paid:
                        tally.add(failure.tokens)
                    spent_out = attempt >= self._max_attempts or tally.paid_attempts >= self._max_paid
                    if not failure.again or spent_out or shown.anything:
                        raise self._failed(failure, attempt, tally) from None
                    wait = wait_s(attempt, failure.retry_after_s) if failure.wait else 0.0
                if wait:
                    await self._sleep(wait)

    def _failed(self, failure: AttemptError, attempts: int, tally: _Tally) -> ModelError:
        tries = f" (after {attempts} attempts)" if attempts > 1 else ""
        return ModelError(
            self.name,
            f"{failure.problem}{tries}",
            failure.todo,
            retryable=failure.again,
            spent=Amounts(tokens=tally.tokens.input + tally.tokens.output, micro_usd=tally.micro_usd),
        )


class _Tally:
    """Adds up what all attempts of one call cost."""

    def __init__(self, price: Price, bound: Tokens) -> None:
        self._price, self._bound = price, bound
        self.tokens = Tokens(0, 0)
        self.micro_usd = 0
        self.paid_attempts = 0

    def add(self, tokens: Tokens | None) -> None:
        """Book one attempt: what was measured, else its bound."""
        tokens = tokens or self._bound
        self.tokens = self.tokens.plus(tokens)
        self.micro_usd += self._price.micro_usd(tokens)
        self.paid_attempts += 1

    def completion(self, answer: Answer, data: Any, calls: tuple[ToolCall, ...], model: str) -> Completion:
        """Return the answer with all that it took."""
        total = self.tokens.input + self.tokens.output
        return Completion(
            text=answer.text,
            data=data,
            tool_calls=calls,
            usage=Amounts(tokens=total, micro_usd=self.micro_usd),
            input_tokens=self.tokens.input,
            output_tokens=self.tokens.output,
            usage_measured=self.tokens.measured,
            model=answer.model or model,
            finish_reason=answer.finish_reason,
        )


class _Shown:
    """Hands pieces of text on and remembers that it did."""

    def __init__(self, on_text: Callable[[str], None] | None) -> None:
        self._on_text = on_text
        self.anything = False

    def take(self, piece: str) -> None:
        self.anything = True
        if self._on_text is not None:
            self._on_text(piece)


def _understood(
    answer: Answer, schema: dict[str, Any] | None, tools: Sequence[dict[str, Any]]
) -> tuple[Any, tuple[ToolCall, ...]]:
    """Return the object and the tool calls of an answer; tool calls come instead of the object."""
    if answer.refusal and schema is not None:
        raise malformed(f"the model declined: {answer.refusal[:200]}", answer.tokens, again=False)
    try:
        calls = read_calls(answer, tools)
        return (parse_object(answer.text, schema) if schema is not None and not calls else None), calls
    except ValueError as error:
        if answer.finish_reason == "length":
            # The same cap would cut the next answer as well.
            raise malformed(f"`max_tokens` cut it off ({error})", answer.tokens, again=False) from None
        raise malformed(str(error), answer.tokens) from None


def _positive(where: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise InvalidInputError(where, repr(value), "a number above 0")
    return value
