"""One attempt at an OpenAI-compatible endpoint over HTTP, and what its failure means."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from functools import cached_property
from typing import Any, NoReturn

import httpx
from pydantic import SecretStr

from agentflow.core.errors import InvalidInputError
from agentflow.llm.prices import is_loopback
from agentflow.llm.retry import RETRYABLE_STATUS, read_retry_after
from agentflow.llm.structured import parse_json
from agentflow.llm.usage import Tokens
from agentflow.llm.wire import Answer, StreamedAnswer, events, read_answer

MAX_ANSWER_BYTES = 16 * 2**20
MAX_SHOWN = 300
CONNECT_S = 10.0

# These end before the endpoint has read the whole request: it has nothing to charge for.
_BEFORE_WORK = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.WriteError,
    httpx.WriteTimeout,
)
_TODO_BY_STATUS = {
    400: "Change the request, or use an endpoint that supports it (schema, tools, context length).",
    401: "Check `api_key` of this model.",
    403: "Check `api_key` of this model and what it may use.",
    404: "Check `base_url` and `model`.",
    413: "Send a shorter prompt.",
    422: "Change the request, or use an endpoint that supports it (schema, tools, context length).",
}


class AttemptError(Exception):
    """One attempt failed.

    ``maybe_paid`` says whether the endpoint may charge for it, ``tokens`` for what, where it said so.
    ``again`` says whether the same request may succeed later, ``wait`` whether it needs time for that.
    """

    def __init__(
        self,
        problem: str,
        todo: str,
        *,
        again: bool,
        maybe_paid: bool,
        tokens: Tokens | None = None,
        wait: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem, self.todo, self.again = problem, todo, again
        self.maybe_paid, self.tokens = maybe_paid, tokens
        self.wait, self.retry_after_s = wait, retry_after_s


def malformed(reason: str, tokens: Tokens | None, *, again: bool = True) -> AttemptError:
    """Return the failure of an answer that arrived, is paid for, and cannot be used."""
    return AttemptError(
        f"the answer cannot be used: {reason}",
        "Ask for less at once, or use a model that keeps to schemas and tools.",
        again=again,
        maybe_paid=True,
        tokens=tokens,
        wait=False,
    )


class Endpoint:
    """An address and its key. The key goes out in the one header and shows up nowhere else."""

    def __init__(self, where: str, base_url: str, api_key: SecretStr | None, timeout_s: float) -> None:
        self.url = _chat_url(where, base_url)
        self.shown = f"{self.url.scheme}://{self.url.netloc.decode()}{self.url.path}"
        self._key = _checked_key(where, api_key)
        self._timeout_s = timeout_s

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    def client(self) -> httpx.AsyncClient:
        """Return a client for one call; it belongs to the event loop that asks."""
        timeout = httpx.Timeout(CONNECT_S, read=self._timeout_s)
        # A proxy of the environment must not be asked for this very machine.
        return httpx.AsyncClient(verify=self._tls, timeout=timeout, trust_env=not is_loopback(str(self.url)))

    async def ask(
        self, client: httpx.AsyncClient, body: dict[str, Any], on_text: Callable[[str], None] | None
    ) -> Answer:
        """Send ``body`` once.

        Raises:
            AttemptError: no usable answer came.
        """
        headers = httpx.Headers({"Content-Type": "application/json"})
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        content = json.dumps(body, allow_nan=False)
        try:
            async with client.stream("POST", self.url, content=content, headers=headers) as response:
                if response.status_code != httpx.codes.OK:
                    await self._refused(response)
                streamed = response.headers.get("Content-Type", "").startswith("text/event-stream")
                if on_text is not None and streamed:
                    return await self._streamed(response, on_text)
                answer = await self._whole(response)
        except httpx.RequestError as error:
            raise self._broken(error) from None
        if on_text is not None and answer.text:
            on_text(answer.text)
        return answer

    async def _whole(self, response: httpx.Response) -> Answer:
        raw = b"".join([chunk async for chunk in _limited(response.aiter_bytes())])
        try:
            return read_answer(parse_json(raw.decode("utf-8", "replace")))
        except ValueError as error:
            raise malformed(self._safe(str(error)), None) from None

    async def _streamed(self, response: httpx.Response, on_text: Callable[[str], None]) -> Answer:
        whole, done = StreamedAnswer(), False
        async for data in events(_limited(response.aiter_bytes())):
            done = data.strip() == "[DONE]"
            if done:
                break
            piece = self._piece(whole, data)
            if piece:
                on_text(piece)
        if not done and not whole.finish_reason:
            raise AttemptError(
                f"{self.shown} ended its stream in the middle of the answer",
                "Try again; if it stays so, look at the endpoint's log.",
                again=True,
                maybe_paid=True,
            )
        return read_answer(whole.body())

    def _piece(self, whole: StreamedAnswer, data: str) -> str:
        try:
            chunk = parse_json(data)
            if isinstance(chunk, dict) and chunk.get("error"):
                raise ValueError(f"an error inside the stream: {_message(chunk)}")
            return whole.add(chunk)
        except ValueError as error:
            raise malformed(self._safe(str(error)), None) from None

    async def _refused(self, response: httpx.Response) -> NoReturn:
        status = response.status_code
        raw = b"".join([chunk async for chunk in _limited(response.aiter_bytes())])
        text = raw.decode("utf-8", "replace")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = text
        # An empty account is answered with 429 as well; waiting does not fill it.
        out_of_credit = "insufficient_quota" in text
        detail = self._safe(_message(body) or "no reason given")
        raise AttemptError(
            f"{self.shown} answered {status}: {detail}",
            "Top up the account behind this key." if out_of_credit else _todo(status),
            again=status in RETRYABLE_STATUS and not out_of_credit,
            maybe_paid=False,
            retry_after_s=read_retry_after(response.headers.get("Retry-After")),
        )

    def _broken(self, error: httpx.RequestError) -> AttemptError:
        if isinstance(error, httpx.ReadTimeout):
            problem = f"{self.shown} sent nothing for {self._timeout_s:g} s"
            todo = "Raise `timeout_s` of this model, or ask for fewer tokens."
        else:
            said = self._safe(str(error)) or "no reason given"
            problem = f"the connection to {self.shown} failed ({type(error).__name__}: {said})"
            todo = "Check `base_url`, and that the endpoint is running."
        never = isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError))
        return AttemptError(problem, todo, again=not never, maybe_paid=not isinstance(error, _BEFORE_WORK))

    def _safe(self, text: str) -> str:
        """Return what an endpoint said, shortened, on one line, without the key if it repeats it."""
        if self._key is not None:
            text = text.replace(self._key.get_secret_value(), "***")
        line = " ".join(text.split())
        return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


def _chat_url(where: str, base_url: str) -> httpx.URL:
    allowed = "an address such as http://localhost:8000/v1, with any key in `api_key`"
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise InvalidInputError(f"{where}.base_url", "text that is no address", allowed) from None
    if url.userinfo:
        raise InvalidInputError(f"{where}.base_url", "an address with a name or password inside", allowed)
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInputError(f"{where}.base_url", repr(base_url), allowed)
    path = url.path.rstrip("/") or "/v1"
    return url.copy_with(path=f"{path}/chat/completions")


def _checked_key(where: str, key: SecretStr | None) -> SecretStr | None:
    value = "" if key is None else key.get_secret_value().strip()
    if not (value.isascii() and (not value or value.isprintable())):
        raise InvalidInputError(
            f"{where}.api_key", "a key with characters that no header may hold", "printable ASCII"
        )
    return SecretStr(value) if value else None


def _todo(status: int) -> str:
    if status in RETRYABLE_STATUS:
        return "Try again later, or lower the rate of calls."
    return _TODO_BY_STATUS.get(status, "Check `base_url`, and look at the endpoint's log.")


def _message(body: Any) -> str:
    """Return the reason in an error's body, in any of the usual shapes."""
    while isinstance(body, dict):
        body = next((body[key] for key in ("error", "message", "detail") if body.get(key)), "")
    return body if isinstance(body, str) else json.dumps(body)


async def _limited(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise malformed(f"it is longer than {MAX_ANSWER_BYTES // 2**20} MiB", None)
        yield chunk
