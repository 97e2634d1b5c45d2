"""The editor's schema of workflow files: ``python -m agentflow.workflow.json_schema [--check] [FILE]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentflow.workflow.schema import FileSpec
from agentflow.workflow.steps import KINDS

DEFAULT_PATH = Path("schemas/workflows.schema.json")
_REPEATED = ("use", "agent", "workflow")
_NAMED_ALONE = ("ScorerUse", "TypeSpec")
"""Mappings for which their first entry alone may stand, as a text."""


def build_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a workflow file."""
    schema = FileSpec.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    for definition in (schema, *definitions.values()):
        _take_single_values(definition)
        _leave_out_null(definition)
        for form in definition.get("properties", {}).values():
            form.pop("title", None)
    definitions["Step"] |= _one_kind()
    for name in _NAMED_ALONE:
        definitions[name]["type"] = ["string", "object"]
    definitions["OutputSpec"] = _any_output(definitions["OutputSpec"])
    schema.pop("title", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agentflow workflow file",
        **schema,
    }


def _one_kind() -> dict[str, Any]:
    """Return the rule that a step is of one kind, and that ``foreach`` stands beside what it repeats."""
    single = [kind for kind in KINDS if kind != "foreach"]
    alone: dict[str, Any] = {"properties": {"foreach": False}}
    return {
        "oneOf": [{"required": [kind]} for kind in single],
        "dependentSchemas": {kind: alone for kind in single if kind not in _REPEATED},
    }


def _take_single_values(definition: dict[str, Any]) -> None:
    """Let ``at`` hold one hook as well as a list of them, as the loader does."""
    at = definition.get("properties", {}).get("at")
    if at is not None:
        listed = {key: at.pop(key) for key in ("type", "items", "minItems")}
        at["anyOf"] = [listed["items"], listed]


def _any_output(definition: dict[str, Any]) -> dict[str, Any]:
    """Let an output be any value: a mapping without ``value`` is one as well."""
    return {key: form for key, form in definition.items() if key in ("title", "description", "properties")}


def _leave_out_null(definition: dict[str, Any]) -> None:
    """Say of an option what it is; that it may be absent needs no word."""
    for name, form in definition.get("properties", {}).items():
        forms = [each for each in form.get("anyOf", ()) if each != {"type": "null"}]
        if form.get("default", ...) is None and len(forms) == 1:
            rest = {key: value for key, value in form.items() if key not in ("anyOf", "default")}
            definition["properties"][name] = {**forms[0], **rest}
        elif "patternProperties" in form:
            form["additionalProperties"] = False


def schema_text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the schema, or with ``--check`` say whether the file is fresh (exit code 0) or stale (1)."""
    check = "--check" in arguments
    names = [argument for argument in arguments if argument != "--check"]
    path = Path(names[0]) if names else DEFAULT_PATH
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schema_text(), encoding="utf-8")
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == schema_text():
        return 0
    sys.stderr.write(f"{path} is stale. Write it again: python -m agentflow.workflow.json_schema\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
