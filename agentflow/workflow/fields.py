"""The small types that workflow files are made of: names, durations, numbers or expressions."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from agentflow.workflow.cel_syntax import RESERVED

IDENTIFIER = r"^[a-z_][a-z0-9_]*$"
NAME = r"^[a-z_][a-z0-9_-]*$"
ROOTS = ("inputs", "steps", "run", "budget", "secrets")
"""What expressions start from; nothing else may take these names inside an expression."""

_EXPRESSION = r"^\s*\$\{\{[\s\S]*\}\}\s*$"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


class Section(BaseModel):
    """A mapping of the file: frozen, and with no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


def mistake(message: str, **facts: Any) -> PydanticCustomError:
    """Return the error that a validator raises; its text reaches the person as it is."""
    return PydanticCustomError("workflow_file", message, facts)


def _identifier(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value in RESERVED:
        raise mistake("'{name}' is a word of the expression language; choose another name.", name=value)
    if not re.fullmatch(IDENTIFIER, value):
        rule = "small letters, digits and _, and no digit first (in an expression, a-b is a subtraction)"
        raise mistake("'{name}' cannot be a name here: it takes {rule}.", name=value[:60], rule=rule)
    return value


def _own_identifier(value: Any) -> Any:
    if value in (*ROOTS, "best", "selected"):
        raise mistake("'{name}' already means something in expressions; choose another name.", name=value)
    return _identifier(value)


def _name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(NAME, value):
        raise mistake("'{name}' cannot be a name: it takes small letters, digits, _ and -.", name=value[:60])
    return value


def _duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and re.fullmatch(_DURATION, value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    else:
        raise mistake(
            "found {found}; allowed: seconds, or a duration such as 90s, 15m, 24h.", found=shown(value)
        )
    if not 0 <= seconds <= 10**9:
        raise mistake("found {found}; a duration is from 0 to 1e9 seconds.", found=shown(value))
    return seconds


def _number_or_expression(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(_EXPRESSION, value):
        wanted = 'a whole number of at least 1, or "${{ … }}"'
        raise mistake("found {found}; allowed: {wanted}.", found=shown(value), wanted=wanted)
    if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        wanted = 'a whole number of at least 1, or "${{ … }}"'
        raise mistake("found {found}; allowed: {wanted}.", found=shown(value), wanted=wanted)
    return value


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"'{value}'" if isinstance(value, str) else str(value)
    text = text.replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:59]}…"


def _written_as(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


Identifier = Annotated[str, BeforeValidator(_identifier), _written_as(IDENTIFIER)]
"""A name that expressions use."""

OwnIdentifier = Annotated[str, BeforeValidator(_own_identifier), _written_as(IDENTIFIER)]
"""A name that stands in expressions beside ``inputs`` and ``steps``."""

Name = Annotated[str, BeforeValidator(_name), _written_as(NAME)]
"""A name of a workflow, model or world."""

Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0, "pattern": _DURATION}),
]
"""Seconds."""

Count = Annotated[int, Strict(), Field(ge=1)]
Flag = Annotated[bool, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Amount = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=0, le=1e9)]
WholeAmount = Annotated[int, Strict(), Field(ge=0, le=10**15)]

CountOrExpression = Annotated[
    int | str,
    BeforeValidator(_number_or_expression),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 1, "pattern": _EXPRESSION}),
]
"""A count, or an expression that gives one."""


def _expression(value: Any) -> Any:
    """Refuse what YAML has read as a value, and say how an expression is written."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise mistake(
            'found {found}, which is no expression. Write a condition as text, such as "inputs.n > 1"; what always '
            "holds is left out.",
            found=shown(value),
        )
    if isinstance(value, list):
        raise mistake("found a list, which YAML has read as its own. Write it as text: \"['a', 'b']\".")
    raise mistake(
        'found {found}, which is no expression. Write an expression as text, such as "inputs.n + 1".',
        found=shown(value),
    )


Cel = Annotated[str, BeforeValidator(_expression), Field(min_length=1)]
"""A bare CEL expression, without ``${{ }}``."""

Text = str
"""Text in which ``${{ … }}`` is replaced."""

OneOrMore = BeforeValidator(_one_or_more)
"""Takes a single value for a list of one."""
