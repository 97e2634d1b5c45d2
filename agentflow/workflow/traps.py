"""What YAML does to an expression that is not in quotes, said in words that name the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from agentflow.core.errors import Problem

EXPRESSION_KEYS = ("if", "in", "check", "gate", "by", "over")
"""Keys whose value is an expression without ``${{ }}``."""

_BARE = re.compile(r"(?:^|[\s{,-])(" + "|".join(EXPRESSION_KEYS) + r"):\s+(?=\S)")
_BLOCK_HEADER = re.compile(r"(?:^|[\s:-])[|>][-+0-9]*\s*(?:#.*)?$")
_QUOTED = re.compile(r"""(?<![^\s:{\[,-])(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*')""")
_OPENED = {"while parsing a flow sequence": "[]", "while parsing a flow mapping": "{}"}
_MAX = 50
_MAX_LINE = 500
"""No person writes longer lines; each is looked through several times."""


def syntax_problems(text: str, file: str, error: Any) -> list[Problem]:
    """Explain a YAML syntax error: the unquoted expressions of the file, or what the parser says."""
    if not hasattr(error, "problem_mark"):
        return [_unreadable(text, file, error)]
    lines = text.splitlines()
    traps = [
        Problem(file, number, column + 1, f"quote this expression: {reason}.")
        for number, column, reason in islice(_unquoted(lines), _MAX)
    ]
    marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
    if any(trap.line in {mark.line + 1 for mark in marks} for trap in traps):
        return traps
    return [*traps, _bare_expression(file, lines, marks) or _plain_error(file, lines, error, marks)]


def _unreadable(text: str, file: str, error: Any) -> Problem:
    code = getattr(error, "character", 0)
    index = max(0, text.find(chr(code))) if isinstance(code, int) else 0
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    message = (
        f"the character U+{code:04X} is not allowed in YAML. Remove it."
        if isinstance(code, int)
        else str(error)
    )
    return Problem(file, line, column, message)


def _at(lines: list[str], line: int, column: int) -> str:
    return lines[line - 1][column - 1 : column] if line <= len(lines) else ""


def _plain_error(file: str, lines: list[str], error: Any, marks: list[Any]) -> Problem:
    line, column = (marks[0].line + 1, marks[0].column + 1) if marks else (1, 1)
    if "cannot start any token" in str(error.problem) and _at(lines, line, column) == "\t":
        return Problem(file, line, column, "a tab stands where YAML takes spaces only. Indent with spaces.")
    opened = _OPENED.get(error.context or "")
    if opened and error.context_mark is not None:
        start = f"line {error.context_mark.line + 1}, column {error.context_mark.column + 1}"
        message = f"this is not YAML: the {opened[0]} of {start} is not closed with {opened[1]}, or a comma is missing."
        return Problem(file, line, column, message)
    context = f" {error.context}" if error.context else ""
    if context and error.context_mark is not None:
        context += f" that starts on line {error.context_mark.line + 1}"
    return Problem(file, line, column, f"this is not YAML{context}: {error.problem}.")


def _bare_expression(file: str, lines: list[str], marks: list[Any]) -> Problem | None:
    for mark in marks:
        line = lines[mark.line] if mark.line < len(lines) else ""
        for match in reversed(list(_BARE.finditer(line, 0, min(mark.column + 1, _MAX_LINE)))):
            message = (
                f"quote this expression: the value of '{match[1]}' starts or goes on in a way that YAML "
                f"reads as its own. Write {match[1]}: '…'."
            )
            return Problem(file, mark.line + 1, match.end() + 1, message)
    return None


def _unquoted(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (line, column from 0, reason) of each ``${{`` that YAML takes apart."""
    block: int | None = None
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        if block is not None and (indent > block or not line.strip()):
            continue
        block = indent if _BLOCK_HEADER.search(line) else None
        line = line[:_MAX_LINE]
        if "${{" not in line:
            continue
        bare = _QUOTED.sub(lambda found: " " * len(found[0]), line)
        for match in re.finditer(r"\$\{\{", bare):
            reason = _reason(bare, match.start())
            if reason:
                yield number, match.start(), reason


def _reason(line: str, start: int) -> str:
    before = line[:start]
    if before.count("{") + before.count("[") > before.count("}") + before.count("]"):
        return 'inside { } or [ ], YAML reads its braces as a mapping. Write "${{ … }}"'
    end = line.find("}}", start)
    inner = line[start:end] if end > 0 else line[start:]
    if " #" in inner:
        return "YAML cuts it at ' #' as a comment. Write \"${{ … }}\""
    if ": " in line[start:]:
        return "YAML reads its ': ' as a mapping. Write \"${{ … }}\""
    return ""


def cut_by_comment(text: str, end: int) -> bool:
    """Whether the source right after a plain value, which ends at ``end``, is a comment that cut it."""
    rest = text[end : text.find("\n", end) if "\n" in text[end:] else len(text)]
    return rest.lstrip(" \t").startswith("#")
