"""What may enter a span: text without secrets or media bytes, and never more of it than a limit."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
LIMIT_CHARACTERS = 8_192
_REMEMBERED_TEXTS, _REMEMBERED_CHARACTERS = 2_048, 64

_CAPTURING = {"true", "1", "span_only", "span_and_event"}
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)[\w=;.+-]*,[A-Za-z0-9+/=_%-]*")

AttributeValue = str | bool | int | float | Sequence[str]


def capture_wanted() -> bool:
    """Return whether the environment asks for inputs and outputs in spans. By default it does not."""
    return os.environ.get(CAPTURE_VARIABLE, "").strip().lower() in _CAPTURING


class Cleaner:
    """Takes secrets, media bytes and excess length out of whatever is about to enter a span.

    What comes out can be written as JSON and sent by OTLP: text that can be encoded, numbers of at most 64 bits.

    Args:
        secrets: values that must never be seen; also their forms in JSON and in URLs are taken out.
        limit_characters: the longest text that stays whole.
    """

    def __init__(self, secrets: Iterable[str] = (), *, limit_characters: int = LIMIT_CHARACTERS) -> None:
        self._limit = limit_characters
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._secrets = sorted(forms, key=len, reverse=True)
        self._clean: set[str] = set()
        self._any_secret = re.compile("|".join(map(re.escape, self._secrets)))

    def text(self, text: str) -> str:
        """Return a text as it may stand in a span."""
        if text in self._clean:
            return text
        cleaned = self._cleaned(text)
        if cleaned is text and len(text) <= _REMEMBERED_CHARACTERS and len(self._clean) < _REMEMBERED_TEXTS:
            self._clean.add(text)
        return cleaned

    def _cleaned(self, text: str) -> str:
        if not text.isascii():  # half a surrogate pair can be neither written nor sent
            text = text.encode("utf-8", "replace").decode()
        for secret in self._secrets:  # to look for each is many times faster than one pattern for all
            if secret in text:
                text = self._any_secret.sub("[secret]", text)
                break
        if "data:" in text:
            text = _DATA_URI.sub(r"[\1 bytes]", text)
        if len(text) > self._limit:
            return f"{text[: self._limit]}… [{len(text) - self._limit} more characters]"
        return text

    def json(self, value: Any) -> str:
        """Return a value's JSON text as it may stand in a span; of what has none, its type."""
        if isinstance(value, str):
            return self.text(value)
        try:
            return self.text(_ENCODER.encode(value))
        except Exception as error:  # a stranger's `__str__`, a loop, keys that are no text
            return f"[{type(value).__name__} without a text: {type(error).__name__}]"

    def attribute(self, value: Any) -> AttributeValue:
        """Return a value as a span's attribute: numbers as they are, texts cleaned, all else as JSON."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if _INT64_MIN <= value <= _INT64_MAX else self.json(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(float(value))
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return [self.text(item) for item in value]
        return self.json(value)


def _forms(secret: str) -> set[str]:
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), *quoted}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    shape = getattr(value, "shape", None)
    return f"[{type(value).__name__} of shape {shape}]" if shape is not None else str(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_plain)
