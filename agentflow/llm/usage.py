"""Tokens of a call: as an endpoint reports them, or an upper bound where it reports none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentflow.core.protocols import Message

TEMPLATE_TOKENS = 512
"""What a chat template may add of its own: role marks, a default system text, how to call a tool."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one call. ``cached`` is the part of ``input`` that the endpoint read from its cache."""

    input: int
    output: int
    cached: int = 0
    measured: bool = True

    def plus(self, other: Tokens) -> Tokens:
        """Return the sum; it is measured when both are."""
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.measured and other.measured,
        )


def tokens_bound(
    messages: Sequence[Message],
    max_tokens: int,
    schema: dict[str, Any] | None = None,
    tools: Sequence[dict[str, Any]] = (),
) -> Tokens:
    """Return an upper bound of one call's tokens.

    No byte-level tokenizer makes more than one token per UTF-8 byte. A schema and tools count twice, because
    a chat template may write them into the prompt indented.
    """
    prompt = _bytes([message.model_dump() for message in messages])
    declared = 2 * _bytes([schema, *tools]) if schema or tools else 0
    return Tokens(prompt + declared + TEMPLATE_TOKENS, max_tokens, measured=False)


def read_usage(usage: Any, *, answered: bool) -> Tokens | None:
    """Return the tokens in an endpoint's ``usage``, or None where it says nothing believable.

    Args:
        usage: the ``usage`` object of an answer, whatever was sent there.
        answered: whether the answer held anything; an answer of zero tokens is then not believed.
    """
    if not isinstance(usage, dict):
        return None
    prompt, output = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if not prompt or output is None:
        return None
    # Some endpoints leave hidden reasoning out of completion_tokens, though not out of the total.
    output = max(output, (_count(usage.get("total_tokens")) or 0) - prompt)
    if answered and not output:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Tokens(prompt, output, min(cached or 0, prompt))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass"))
