"""A workflow's inputs, as they are given on a command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentflow.core.errors import InvalidInputError

if TYPE_CHECKING:
    from agentflow.workflow.schema import Workflow

_WAYS = "--input name=value, --name value, or --inputs-json FILE"


def collect(
    workflow: Workflow,
    *,
    pairs: Sequence[str] = (),
    extra: Sequence[str] = (),
    file: str | None = None,
    goal: str | None = None,
) -> dict[str, Any]:
    """Return the inputs of a run; what is given nearer to the command wins over ``file``.

    Args:
        workflow: says of what type each input is.
        pairs: ``name=value``.
        extra: options that the command itself does not have: ``--name value`` or ``--name=value``.
        file: a JSON object's file, ``-`` for standard input.
        goal: the input ``goal``.

    Raises:
        InvalidInputError: a text that is none of these.
    """
    given = {} if file is None else _read(file)
    for name, text in (*map(_pair, pairs), *_options(extra)):
        spec = workflow.inputs.get(name) or workflow.inputs.get(name.replace("-", "_"))
        known = name if name in workflow.inputs or spec is None else name.replace("-", "_")
        given[known] = text if spec is not None and spec.type == "string" else _parsed(text)
    if goal is not None:
        given["goal"] = goal
    return given


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InvalidInputError("--input", repr(text[:80]), "name=value")
    return name, value


def _options(extra: Sequence[str]) -> list[tuple[str, str]]:
    found, waiting = [], list(extra)
    while waiting:
        option = waiting.pop(0)
        if not option.startswith("--") or len(option) < 3:
            raise InvalidInputError("argument", repr(option[:80]), f"a workflow, its options, or {_WAYS}")
        name, sign, value = option[2:].partition("=")
        if not sign:
            if not waiting:
                raise InvalidInputError(f"--{name[:80]}", "no value", f"an option of the command, or {_WAYS}")
            value = waiting.pop(0)
        found.append((name, value))
    return found


def _parsed(text: str) -> Any:
    """Return JSON where it is some, else the text: what does not fit is told by the workflow's own check."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _read(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        value = json.loads(text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInputError("--inputs-json", f"{name} ({reason})", "a file that can be read") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            "--inputs-json", f"{name}, which is no JSON ({error})", "a JSON object"
        ) from error
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            "--inputs-json", f"{name}, which holds {type(value).__name__}", "a JSON object"
        )
    return dict(value)
