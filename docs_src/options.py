"""Fill the tables of options in docs/ from the schema and its limits: ``python docs_src/options.py [--check]``.

A table follows its mark. ``<!-- options Step retry=Retry -->`` stands before the options of a step, and those of its
``retry``; ``<!-- limits -->`` before what files and expressions may have at most.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from agentflow.workflow import (
    calls,
    cel_cost,
    cel_pattern,
    cel_reading,
    cel_syntax,
    cel_tree,
    expressions,
    named_types,
    positions,
    references,
)
from agentflow.workflow.fields import Section
from agentflow.workflow.json_schema import build_schema

DOCS = Path(__file__).parent.parent / "docs"
PAGES = (DOCS / "language.md", DOCS / "options.md")
FILE = "FileSpec"
"""How the page calls the part that is the whole file."""
LONGEST_EXAMPLE = 48
_TABLE = re.compile(r"(<!-- (?P<what>options|limits)(?P<parts>.*?) -->\n)(?:\|.*\n)*")


def filled(text: str) -> str:
    """Return the page with every table as the code has it now."""
    return _TABLE.sub(
        lambda found: found[1] + (limits() if found["what"] == "limits" else options(found["parts"])), text
    )


def shown(text: str) -> set[str]:
    """Return the parts of the file whose options a page shows."""
    words = [word for found in _TABLE.finditer(text) for word in found["parts"].split()]
    return {word.rpartition("=")[2] for word in words}


def options(parts: str) -> str:
    """Return the table of the options of ``parts``: each a part's name, or ``where=Name`` for one inside another."""
    rows = [row for word in parts.split() for row in _rows(*word.rpartition("=")[::2])]
    return _table(("option", "default", "what it does", "values, or an example"), rows)


def _rows(where: str, part: str) -> list[tuple[str, ...]]:
    schema = build_schema()
    properties = (schema if part == FILE else schema["$defs"][part])["properties"]
    fields = _section(part).model_fields
    return [
        (
            f"`{where}.{alias}`" if where else f"`{alias}`",
            "required" if field.is_required() else _default(properties[alias]),
            field.description or "",
            _takes(schema, properties[alias], field.examples or []),
        )
        for alias, field in ((field.alias or name, field) for name, field in fields.items())
    ]


def _section(name: str) -> type[Section]:
    """Return the class of a part of the file."""
    return next(each for each in Section.__subclasses__() if each.__name__ == name)


def limits() -> str:
    """Return the table of what a file and an expression may have at most."""
    rows = [
        ("a file", f"{positions.MAX_BYTES:,} bytes, {positions.MAX_NODES:,} values, {positions.MAX_DEPTH} levels"),
        ("all expressions of a file", f"{references.MAX_PARTS:,} names, numbers and signs"),
        ("a workflow with those that it runs", f"{calls.MAX_STEPS:,} steps, {calls.MAX_CALLS} workflows deep"),
        ("a type", f"{named_types.MAX_SIZE:,} types in it, {named_types.MAX_NAMES} names deep"),
        ("mistakes that are listed", f"{positions.MAX_PROBLEMS}"),
        (
            "an expression",
            f"{cel_syntax.MAX_LENGTH:,} characters, {cel_tree.MAX_BRACKETS} brackets deep, {cel_tree.MAX_DEPTH} "
            f"operations in a chain, {cel_reading.MAX_NESTING} of `all`, `map` … in one another",
        ),
        ("its work on the values at hand, worked out before it runs", f"{cel_cost.MAX_WORK_NS // 1_000_000} ms"),
        ("expressions in one text", f"{expressions.MAX_HOLES}, which share that work"),
        (
            "a pattern of `matches`",
            f"{cel_pattern.MAX_PATTERN} characters, counts that multiply to {cel_pattern.MAX_REPEATS:,}",
        ),
    ]  # fmt: skip
    return _table(("", "at most"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(
        "|" + "|".join(f" {cell.replace('|', chr(92) + '|')} " for cell in line) + "|\n" for line in lines
    )


def _default(form: dict[str, Any]) -> str:
    if form.get("default") in (None, "", [], {}):
        return ""
    value = form["default"]
    return f"`{value:g}s`" if _is_duration(form) else f"`{_written(value)}`"


def _is_duration(form: dict[str, Any]) -> bool:
    return "(ms|s|m|h|d)" in form.get("pattern", "")


def _takes(schema: dict[str, Any], form: dict[str, Any], examples: list[Any]) -> str:
    """Return the values that an option takes; where they cannot be listed, its bounds and an example."""
    if values := _values(schema, form):
        return ", ".join(f"`{value}`" for value in values)
    example = next((text for text in map(_written, examples) if len(text) <= LONGEST_EXAMPLE), "")
    low, high = form.get("minimum"), form.get("maximum")
    bounds = f" ({low:g} to {high:g})" if low is not None and high is not None and high < 10**6 else ""
    return f"`{example}`{bounds}" if example else bounds.strip()


def _values(schema: dict[str, Any], form: dict[str, Any]) -> list[Any]:
    if "$ref" in form:
        return _values(schema, schema["$defs"][form["$ref"].rpartition("/")[2]])
    if "anyOf" in form:
        return next((found for each in form["anyOf"] if (found := _values(schema, each))), [])
    return form.get("enum") or ([form["const"]] if "const" in form else [])


def _written(value: Any) -> str:
    """Return a value as a file would have it on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


def main() -> int:
    """Write the pages, or with ``--check`` say whether they are fresh."""
    stale = {page: new for page in PAGES if (new := filled(old := page.read_text(encoding="utf-8"))) != old}
    for page, text in stale.items():
        if "--check" in sys.argv:
            print(f"docs/{page.name} is stale: run python docs_src/options.py")
        else:
            page.write_text(text, encoding="utf-8")
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
