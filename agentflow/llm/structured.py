"""A model's text as the JSON object that a schema asks for."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from agentflow.core.errors import InvalidInputError

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL | re.IGNORECASE)


def check_schema(schema: dict[str, Any] | None) -> None:
    """Refuse a schema whose answer could not be an object.

    Raises:
        InvalidInputError: its ``type`` is another one.
    """
    if schema is not None and schema.get("type", "object") != "object":
        raise InvalidInputError("schema of an answer", f"type {schema['type']!r}", "type 'object'")


def parse_object(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the object in ``text``, alone or in one Markdown fence, with the schema's required keys.

    Types and bounds of the values are the caller's to validate: it holds the pydantic model.

    Raises:
        ValueError: says what is there instead; the text itself is not repeated.
    """
    fenced = _FENCED.match(text)
    value = parse_json(fenced.group(1) if fenced else text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {_kind(value)} where the schema asks for an object")
    missing = [key for key in schema.get("required", ()) if key not in value]
    if missing:
        raise ValueError(f"an object without the required {', '.join(map(repr, missing))}")
    return value


def parse_json(text: str) -> Any:
    """Return the value of a strict JSON text: NaN and Infinity are not JSON.

    Raises:
        ValueError: it is not JSON.
    """
    if not text.strip():
        raise ValueError("an empty text where JSON was asked for")
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"text that is not JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply to read") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"text that is not JSON ({constant} is no JSON number)")


def _kind(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
