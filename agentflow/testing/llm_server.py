"""`ScriptedLLMServer`: a real OpenAI-compatible HTTP server that says what a test tells it to say."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

DEFAULT_USAGE = (10, 5)
"""Prompt and completion tokens that a reply reports unless it is told otherwise."""


@dataclass(frozen=True)
class RecordedRequest:
    """One request that arrived: ``body`` is its JSON; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class _Reply:
    """An answer, and what goes wrong with it: ``then`` is ``end``, ``drop``, ``stall`` or ``truncate``."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    usage: tuple[int, int] | None = DEFAULT_USAGE
    finish_reason: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    error: str = ""
    then: str = "end"


class ScriptedLLMServer:
    """Serves ``/v1/chat/completions`` on a free loopback port from a list of replies, one per request.

    Whether a reply is streamed is the request's choice, as with a real endpoint, and a stream carries usage
    only when ``stream_options.include_usage`` asked for it. A request beyond the script is answered with
    status 400, which no client repeats. All methods that add a reply return the server, so they chain::

        with ScriptedLLMServer() as server:
            server.status(429, retry_after=1).reply("hello", usage=(12, 3))
            chat = OpenAIChat("planner", server.base_url, "any")
            ...
            assert server.requests[0].body["messages"][0]["content"] == "hi"
    """

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self._replies: deque[_Reply] = deque()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        script = self

        class Handler(_Handler):
            server_script = script

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False  # so that closing waits for every answer in progress
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, name="scripted-llm"
        )

    @property
    def base_url(self) -> str:
        """The address to give to a client, with ``/v1``."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.close()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._woken.close()

    def reply(
        self, text: str, *, usage: tuple[int, int] | None = DEFAULT_USAGE, finish_reason: str = "stop"
    ) -> Self:
        """Answer with text.

        Args:
            text: the content; not-JSON where JSON was asked for is a malformed answer.
            usage: prompt and completion tokens; None sends no usage at all.
            finish_reason: such as ``length`` for an answer that the cap cut off.
        """
        return self._add(_Reply(text, usage=usage, finish_reason=finish_reason))

    def json(self, value: Any, *, usage: tuple[int, int] | None = DEFAULT_USAGE) -> Self:
        """Answer with a JSON value as the content."""
        return self.reply(json.dumps(value), usage=usage)

    def tool_calls(
        self,
        *calls: tuple[str, dict[str, Any] | str],
        text: str = "",
        usage: tuple[int, int] | None = DEFAULT_USAGE,
    ) -> Self:
        """Answer with calls of tools: ``(name, arguments)``; arguments as text are sent as they are."""
        raw = tuple((name, given if isinstance(given, str) else json.dumps(given)) for name, given in calls)
        return self._add(_Reply(text, calls=raw, usage=usage, finish_reason="tool_calls"))

    def status(
        self,
        code: int,
        *,
        retry_after: float | str | None = None,
        message: str = "scripted failure",
        error_code: str = "",
    ) -> Self:
        """Answer with an HTTP status and an error body.

        Args:
            code: such as 429 or 503.
            retry_after: the Retry-After header: seconds, or an HTTP date as text.
            message: the error's message.
            error_code: the error's code, such as ``insufficient_quota``.
        """
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        body = json.dumps({"error": {"message": message, "code": error_code}}).encode()
        return self._add(_Reply(status=code, headers=headers, raw=body))

    def malformed_body(self, raw: bytes = b'{"choices": [') -> Self:
        """Answer 200 with a body that is not what an endpoint sends."""
        return self._add(_Reply(raw=raw))

    def drop(self, after: str = "") -> Self:
        """Close the connection: at once, or in the middle of an answer that starts with ``after``."""
        return self._add(_Reply(after, then="drop"))

    def stall(self, after: str = "") -> Self:
        """Say nothing more, at once or after ``after``, until the client hangs up or the server is closed."""
        return self._add(_Reply(after, then="stall"))

    def truncate(self, after: str) -> Self:
        """End a stream politely after ``after``, without its last chunk, its usage and ``[DONE]``."""
        return self._add(_Reply(after, then="truncate"))

    def stream_error(self, message: str, *, after: str) -> Self:
        """Send an error as a chunk of a stream that has begun with ``after``."""
        return self._add(_Reply(after, error=message, then="truncate"))

    def _add(self, reply: _Reply) -> Self:
        with self._lock:
            self._replies.append(reply)
        return self

    def _next(self, request: RecordedRequest) -> _Reply:
        with self._lock:
            self.requests.append(request)
            if self._replies:
                return self._replies.popleft()
        body = json.dumps({"error": {"message": "the script has no more replies"}}).encode()
        return _Reply(status=400, raw=body)

    def _hold(self, connection: socket.socket) -> None:
        """Return when the client has hung up or this server closes."""
        select.select([connection, self._woken], [], [])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_script: ScriptedLLMServer

    def log_message(self, *_: object) -> None:
        """Keep a test's output clean."""

    def do_POST(self) -> None:
        self.close_connection = True
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = RecordedRequest(self.path, headers, json.loads(raw or b"{}"))
        reply = self.server_script._next(request)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client hung up first
            self._send(reply, request.body)

    def _send(self, reply: _Reply, asked: dict[str, Any]) -> None:
        if reply.then != "end" and not reply.text:
            self._cut(reply)
        elif reply.raw is not None:
            self._whole(reply, reply.raw)
        elif asked.get("stream"):
            self._stream(reply, asked)
        else:
            self._whole(reply, json.dumps(_body(reply, asked)).encode())

    def _head(self, reply: _Reply, content_type: str, **headers: str) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Type": content_type, "Connection": "close", **reply.headers}.items():
            self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _whole(self, reply: _Reply, body: bytes) -> None:
        self._head(reply, "application/json", Content_Length=str(len(body)))
        if reply.then != "end":
            self.wfile.write(body[: len(body) // 2])
            self._cut(reply)
        else:
            self.wfile.write(body)

    def _stream(self, reply: _Reply, asked: dict[str, Any]) -> None:
        self._head(reply, "text/event-stream", Transfer_Encoding="chunked")
        for event in _events(reply, asked):
            self._chunk(f"data: {json.dumps(event)}\n\n".encode())
        if reply.then == "end":
            self._chunk(b"data: [DONE]\n\n")
        if reply.then in ("end", "truncate"):
            self._chunk(b"")
        else:
            self._cut(reply)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%X\r\n%s\r\n" % (len(data), data))

    def _cut(self, reply: _Reply) -> None:
        self.wfile.flush()
        if reply.then == "stall":
            self.server_script._hold(self.connection)


def _calls(reply: _Reply) -> list[dict[str, Any]]:
    functions = [{"name": name, "arguments": arguments} for name, arguments in reply.calls]
    return [
        {"index": index, "id": f"call_{index}", "type": "function", "function": function}
        for index, function in enumerate(functions)
    ]


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}


def _body(reply: _Reply, asked: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    body: dict[str, Any] = {"object": "chat.completion", "model": asked.get("model"), "choices": [choice]}
    if reply.usage is not None:
        body["usage"] = _usage(reply.usage)
    return body


def _events(reply: _Reply, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a stream's chunks: the text word by word, each tool call in two halves, the end, the usage."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"object": "chat.completion.chunk", "model": asked.get("model"), "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(reply.text):
        yield chunk({"content": piece})
    for call in _calls(reply):
        text = call["function"]["arguments"]
        half = len(text) // 2
        yield chunk({"tool_calls": [{**call, "function": {**call["function"], "arguments": text[:half]}}]})
        yield chunk({"tool_calls": [{"index": call["index"], "function": {"arguments": text[half:]}}]})
    if reply.error:
        yield {"error": {"message": reply.error}}
    if reply.then != "end":
        return
    yield chunk({}, reply.finish_reason)
    if reply.usage is not None and (asked.get("stream_options") or {}).get("include_usage"):
        yield {"object": "chat.completion.chunk", "choices": [], "usage": _usage(reply.usage)}


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:]
