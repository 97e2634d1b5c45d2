"""`LocalLlama`: a GGUF file on this machine, served by llama.cpp inside this process."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, MissingExtraError
from agentflow.core.protocols import Completion, Message
from agentflow.llm.openai import OpenAIChat
from agentflow.llm.prices import SELF_HOSTED
from agentflow.llm.usage import tokens_bound

_MAGIC = b"GGUF"


class LocalLlama:
    """A language model in a GGUF file, through ``xllamacpp`` (extra ``local-llm``).

    The file is looked at now; it is loaded at the first call, or by `start`. llama.cpp then listens on a free
    loopback port, with a key that only this object knows, until `close`. Calls cost tokens and no money.

    Args:
        name: what the workflow calls the model.
        path: the GGUF file.
        context: tokens that prompt and answer may take together.
        threads: CPU threads; by default the cores that this process may use.
        timeout_s: the longest silence of the model.

    Raises:
        MissingExtraError: ``xllamacpp`` is not installed.
        InvalidInputError: the path holds no GGUF file.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        *,
        context: int = 4096,
        threads: int | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        self.name, self.price = name, SELF_HOSTED
        self._path = Path(path)
        self._context, self._timeout_s = context, timeout_s
        self._threads = threads or _cores()
        self._lock = threading.Lock()
        self._server: Any = None
        self._chat: OpenAIChat | None = None
        _check_file(f"models.{name}.path", self._path)
        _xllamacpp()

    def __repr__(self) -> str:
        return f"LocalLlama(name={self.name!r}, path={str(self._path)!r}, started={self._chat is not None})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> OpenAIChat:
        """Load the model unless it is loaded, and return the client of its server.

        Raises:
            InvalidInputError: llama.cpp cannot load the file.
        """
        with self._lock:
            if self._chat is None:
                key = secrets.token_urlsafe(32)
                where = f"models.{self.name}.path"
                self._server = _serve(where, self._path, self._context, self._threads, key)
                self._chat = OpenAIChat(
                    self.name,
                    self._server.listening_address,
                    self._path.stem,
                    key,
                    timeout_s=self._timeout_s,
                    max_paid_attempts=1,
                )
            return self._chat

    def close(self) -> None:
        """Stop the server and free the model's memory; a later call loads it again.

        Close it when no call is in progress: llama.cpp lets one that is hold it up for half a minute, and the
        call fails.
        """
        with self._lock:
            self._chat = self._server = None

    def estimate(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        *,
        schema: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Amounts:
        """Return an upper bound of what `complete` may cost; the context is a bound as well."""
        bound = tokens_bound(messages, max_tokens, schema, tools)
        return Amounts(tokens=min(bound.input + bound.output, self._context))

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
            ModelError: no usable answer came.
            InvalidInputError: llama.cpp cannot load the file.
        """
        chat = await asyncio.to_thread(self.start)
        return await chat.complete(
            messages, schema=schema, tools=tools, max_tokens=max_tokens, on_text=on_text
        )


def _xllamacpp() -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise MissingExtraError("provider: local", "local-llm", "xllamacpp") from None
    return xllamacpp


def _cores() -> int:
    # Where the system can say so, only the cores that this process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_file(where: str, path: Path) -> None:
    allowed = "the path of a readable GGUF file"
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise InvalidInputError(where, f"{path} ({error.strerror})", allowed) from None
    if start != _MAGIC:
        raise InvalidInputError(where, f"{path}, which is not a GGUF file", allowed)


def _serve(where: str, path: Path, context: int, threads: int, key: str) -> Any:
    xllamacpp = _xllamacpp()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.api_keys = [key]
    parameters.endpoint_metrics = True
    try:
        server = xllamacpp.Server(parameters)
        # llama.cpp forgets a stop that comes before its task loop runs, and then never stops: a first
        # task's answer proves that the loop is running.
        server.handle_metrics()
        return server
    except RuntimeError:
        raise InvalidInputError(
            where,
            f"{path}, which llama.cpp cannot load (cut off, of an unknown architecture, or too large here)",
            "a whole GGUF file of a chat model that fits into memory",
        ) from None
