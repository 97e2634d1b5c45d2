"""Schema errors as a person reads them, and what is left of a file when its broken parts are set aside."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from agentflow.core.errors import nearest
from agentflow.workflow.fields import shown
from agentflow.workflow.positions import Document, KeyPath, Problems
from agentflow.workflow.schema import FileSpec
from agentflow.workflow.type_specs import TypeSpec

BROKEN = "(broken)"
"""Stands for a name in a part that was set aside; no name can be this."""

_ROUNDS = 6
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}
_FORMS = {
    r"^https?://": "an address that starts with http:// or https://",
    r"^[\w.]+:\w+$": "module:class",
}
_MISSING = {
    "version": " Start the file with 'version: 1'.",
    "id": " Give the step a name, such as id: render.",
}
_OTHER_WORDS = {
    "properties": "fields", "additionalProperties": "values", "maxLength": "max_length", "minLength": "min_length",
    "required": "optional", "nullable": "optional", "min": "minimum", "max": "maximum", "choices": "enum",
    "when": "if", "condition": "if", "tool": "use", "uses": "use", "name": "id", "args": "with", "params": "with",
    "parameters": "with", "inputs": "with", "loop": "foreach", "for_each": "foreach", "each": "foreach",
    "retries": "retry", "max_retries": "retry", "concurrency": "max_parallel", "parallel": "max_parallel",
    "cost": "usd", "dollars": "usd", "time": "wall_clock", "hook": "at", "on": "at", "items": "in", "list": "in",
    "url": "base_url", "key": "api_key", "question": "message", "max_attempts": "attempts",
}  # fmt: skip
"""What other tools call a key; said only where that key is allowed."""
_EMPTY = ("too_short", "string_too_short")


def validate(document: Document, problems: Problems) -> tuple[FileSpec | None, frozenset[KeyPath]]:
    """Validate a document against the schema, and note every mistake.

    Returns:
        The file, with its broken parts replaced by placeholders so that the sound parts can still be
        checked, and the paths of those parts; None where too little is left.
    """
    data = document.root.data()
    broken: set[KeyPath] = set()
    for attempt in range(_ROUNDS):
        try:
            return FileSpec.model_validate(data), frozenset(broken)
        except ValidationError as error:
            found = [item for item in error.errors(include_url=False) if not _is_echo(item)]
        if attempt == 0:
            problems.known = len(problems.found) + len(found)
            for item in found:
                _note(item, document, problems)
        if not all(_set_aside(item, data, broken) for item in found):
            return None, frozenset(broken)
    return None, frozenset(broken)


def _is_echo(item: Any) -> bool:
    """Whether a list is called too short only because its items are refused themselves."""
    return item["type"] in _EMPTY and bool(item["input"])


def _note(item: Any, document: Document, problems: Problems) -> None:
    loc = [part for part in item["loc"] if part != "[key]"]
    is_key = item["type"] == "extra_forbidden" or "[key]" in item["loc"]
    if item["type"] == "missing":
        loc = loc[:-1]
    elif item["type"] == "union_tag_invalid":
        loc = [*loc, "provider"]
    position = document.position(loc, key=is_key)
    problems.add(position, _message(item))


def _message(item: Any) -> str:
    kind, context = item["type"], item.get("ctx", {})
    name = next((part for part in reversed(item["loc"]) if isinstance(part, str)), "")
    if kind == "extra_forbidden":
        return _unknown_key(item["loc"])
    if kind == "missing":
        return f"'{name}' is missing.{_MISSING.get(name, '')}"
    if kind == "union_tag_not_found":
        return "'provider' is missing. Allowed: 'embedded', 'openai', 'langchain' or 'local'."
    if kind == "union_tag_invalid":
        tag = str(context["tag"])
        names = [text.strip(" '") for text in context["expected_tags"].split(",")]
        return f"provider: found '{tag[:60]}'; allowed: {context['expected_tags']}.{nearest(tag[:60], names)}"
    if kind == "workflow_file":
        return str(item["msg"])
    where = name or "the file"
    if kind == "model_type" and item["loc"] and isinstance(item["loc"][-1], int):
        where = f"an item of {name}"
    message = f"{where}: found {_found(kind, item['input'])}; allowed: {_wanted(kind, item, context)}"
    return message if message.endswith("?") else f"{message}."


def _found(kind: str, value: Any) -> str:
    if kind in _EMPTY:
        return "an empty text" if isinstance(value, str) else "none"
    return shown(value)


def _wanted(kind: str, item: Any, context: Mapping[str, Any]) -> str:
    if kind == "model_type":
        return _wanted_section(item)
    if kind in _WANTED:
        quoted = isinstance(item["input"], str) and re.fullmatch(r"-?[0-9.]+", item["input"])
        return f"{_WANTED[kind]}, without quotes" if quoted else _WANTED[kind]
    if kind in _LIMITS:
        words, fact = _LIMITS[kind]
        limit = context[fact]
        return f"{words} {limit:g}" if isinstance(limit, float) else f"{words} {limit}"
    if kind in _EMPTY:
        return "some text" if isinstance(item["input"], str) else "at least 1"
    if kind == "string_pattern_mismatch":
        return _FORMS[context["pattern"]]
    if kind in ("literal_error", "enum"):
        expected = str(context["expected"])
        names = [text.strip(" '") for text in expected.replace(" or ", ", ").split(",")]
        hint = nearest(str(item["input"])[:60], names)
        return f"{expected}.{hint}" if hint else expected
    return str(item["msg"])


def _wanted_section(item: Any) -> str:
    section = _section_at(item["loc"])
    if section is TypeSpec:
        return "the name of a type, or a mapping with `type`"
    keys = [field.alias or key for key, field in section.model_fields.items()] if section else []
    return f"a mapping with {', '.join(keys)}" if 0 < len(keys) <= 10 else "a mapping"


def _unknown_key(loc: Sequence[str | int]) -> str:
    name = str(loc[-1])
    shown_name = name if len(name) <= 60 else f"{name[:59]}…"
    section = _section_at(loc[:-1])
    allowed = [field.alias or key for key, field in section.model_fields.items()] if section else []
    hint = nearest(name, allowed)
    if _OTHER_WORDS.get(name) in allowed:
        hint = f" Did you mean '{_OTHER_WORDS[name]}'?"
    elif set(name) & set("()[]{}<>=&|+*/"):
        hint = " If it belongs to an expression, put that expression in quotes."
    return f"unknown key '{shown_name}'.{hint} Allowed here: {', '.join(allowed)}."


def _section_at(loc: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the class that describes the mapping at ``loc``."""
    annotation: Any = FileSpec
    for part in loc:
        members = list(_members(annotation))
        sections = [
            member for member in members if isinstance(member, type) and issubclass(member, BaseModel)
        ]
        if len(sections) > 1:
            annotation = next(
                (s for s in sections if part in get_args(s.model_fields["provider"].annotation)), None
            )
        elif sections:
            fields = {field.alias or key: field for key, field in sections[0].model_fields.items()}
            annotation = fields[str(part)].annotation if str(part) in fields else annotation
        else:
            annotation = next(
                (get_args(m)[1 if get_origin(m) is dict else 0] for m in members if get_args(m)), None
            )
    final = [
        member
        for member in _members(annotation)
        if isinstance(member, type) and issubclass(member, BaseModel)
    ]
    return final[0] if len(final) == 1 else None


def _members(annotation: Any) -> Iterator[Any]:
    """Yield what an annotation may be, without Annotated, None and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _members(argument)
    elif annotation is not type(None):
        yield annotation


_ENTRIES: dict[str, Any] = {
    "models": {"provider": "embedded"},
    "worlds": {"use": BROKEN},
    "inputs": {"type": "any", "default": None},
    "types": {"type": "any"},
    "guardrails": {"use": BROKEN, "at": ["input"]},
}


def _set_aside(item: Any, data: Any, broken: set[KeyPath]) -> bool:
    """Remove what an error is about, or put a placeholder for what holds it; False: neither can be done."""
    path = _existing(data, item["loc"])
    if not isinstance(data, dict):
        return False
    if item["loc"] == ("version",):
        data["version"] = 1
        return True
    if path and item["type"] != "missing" and path == tuple(part for part in item["loc"] if part != "[key]"):
        parent = _at(data, path[:-1])
        removable = "[key]" in item["loc"] or not _is_section(path)
        if isinstance(parent, dict) and path[-1] in parent and removable:
            del parent[path[-1]]
            return True
    return _replace(path, data, broken)


def _is_section(path: KeyPath) -> bool:
    """Whether a path leads to something that others name, so that it is replaced instead of removed."""
    return len(path) < 3 and path[0] in ("models", "worlds", "workflows")


def _replace(path: KeyPath, data: Any, broken: set[KeyPath]) -> bool:
    for length in range(len(path), 1, -1):
        here = path[:length]
        holder, parent = here[-2], _at(data, here[:-1])
        if holder == "steps" and isinstance(parent, list) and isinstance(here[-1], int):
            parent[here[-1]] = {"id": _id_of(parent[here[-1]], here[-1]), "use": BROKEN}
        elif holder in _ENTRIES and parent and (length == 2 or holder in ("inputs", "guardrails")):
            parent[here[-1]] = dict(_ENTRIES[str(holder)])
        elif holder == "workflows" and length == 2 and here not in broken:
            parent[here[-1]] = {"steps": [{"id": "broken", "use": BROKEN}]}
        else:
            continue
        broken.add(here)
        return True
    return False


def _id_of(step: Any, index: int) -> str:
    found = step.get("id") if isinstance(step, dict) else None
    return found if isinstance(found, str) and found.isidentifier() and found.islower() else f"broken_{index}"


def _existing(data: Any, loc: Sequence[str | int]) -> KeyPath:
    path: list[str | int] = []
    for part in loc:
        inside = isinstance(data, dict) and part in data
        if inside or (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            data = data[part]
            path.append(part)
    return tuple(path)


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data
