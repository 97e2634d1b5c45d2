"""`Expr` and `Template`: CEL behind limits that are checked before it runs, given only what it names.

Compile once (`compile_expr`, `compile_template`, `compile_value`), evaluate often. An expression can read what
its place allows, cannot change anything, never turns a non-boolean into a condition, and is refused where it
could hold the process for longer than 50 ms (`cel_cost`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from agentflow.core.errors import InvalidInputError, MissingSecretError
from agentflow.core.records import canonical_json
from agentflow.workflow.cel_cost import MAX_WORK_NS
from agentflow.workflow.cel_engine import cel
from agentflow.workflow.cel_program import WRITE_NS, Expr
from agentflow.workflow.cel_reading import Flaw, Roots, read, static_flaws
from agentflow.workflow.cel_syntax import MAX_LENGTH, hole_end
from agentflow.workflow.cel_tree import TooDeepError, UnreadableError
from agentflow.workflow.cel_values import type_name

__all__ = [
    "Expr",
    "Flaw",
    "Roots",
    "Secrets",
    "Template",
    "compile_expr",
    "compile_template",
    "compile_value",
    "parse_expr",
    "parse_template",
    "resolve",
    "type_name",
]

MAX_HOLES = 64
"""Expressions that one text may have; they share the work that one expression may do."""
_EXPLAINED = 500
"""Characters up to which CEL is asked what is wrong; it takes 10 ms for each 1000 of them."""


class Template:
    """Text with ``${{ … }}``. One whole expression keeps its type; mixed text gives text."""

    def __init__(self, text: str, parts: tuple[str | Expr, ...]) -> None:
        self.text, self.parts = text, parts
        self._whole = self.whole

    @property
    def expressions(self) -> tuple[Expr, ...]:
        """The expressions in it."""
        return tuple(part for part in self.parts if isinstance(part, Expr))

    @property
    def whole(self) -> Expr | None:
        """The expression that is the whole value, if it is one."""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], Expr) else None

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Return the value, see `Expr.evaluate`."""
        if self._whole is not None:
            return self._whole.evaluate(scope)
        texts, left_ns = [], MAX_WORK_NS
        for part in self.parts:
            if isinstance(part, str):
                texts.append(part)
            else:
                value, work = part.work_out(scope, left_ns, WRITE_NS)
                texts.append(_as_text(value))
                left_ns -= work
        return "".join(texts)


class Secrets(Mapping[str, str]):
    """The environment as ``secrets``: an unset or empty one is an error, never ''."""

    def __init__(self, values: Mapping[str, str] | None = None, where: str = "secrets") -> None:
        self._values = os.environ if values is None else values
        self._where = where

    def __getitem__(self, name: str) -> str:
        value = self._values.get(name)
        if not value:
            raise MissingSecretError(name, self._where)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(())  # secrets are asked for by name, never listed

    def __len__(self) -> int:
        return 0


def compile_expr(text: str, roots: Roots | None = None) -> Expr:
    """Compile bare CEL; ``roots`` are the names it may start from (None: any).

    Raises:
        InvalidInputError: its first mistake.
    """
    compiled, flaws = parse_expr(text, roots)
    if compiled is None:
        raise InvalidInputError(f"expression `{text[:200]}`", flaws[0].message, "valid CEL")
    return compiled


def compile_template(text: str, roots: Roots | None = None) -> Template:
    """Compile text with ``${{ … }}``.

    Raises:
        InvalidInputError: its first mistake.
    """
    compiled, flaws = parse_template(text, roots)
    if compiled is None:
        raise InvalidInputError(f"text {text[:200]!r}", flaws[0].message, "valid CEL in ${{ … }}")
    return compiled


@lru_cache(maxsize=4096)
def parse_expr(text: str, roots: Roots | None = None) -> tuple[Expr | None, tuple[Flaw, ...]]:
    """Return the compiled expression, or None and everything that is wrong with it."""
    if not text.strip():
        return None, (Flaw(0, "the expression is empty."),)
    if len(text) > MAX_LENGTH:
        return None, (Flaw(0, f"the expression has {len(text)} characters; at most {MAX_LENGTH} are taken."),)
    try:
        reading = read(text)
    except TooDeepError as error:
        return None, (Flaw(error.offset, error.message),)
    except UnreadableError as error:
        said = _cel_flaw(text) if len(text) <= _EXPLAINED else None
        return None, (said or Flaw(error.offset, error.message),)
    try:
        expr = Expr(text, reading)
    except ValueError:
        return None, (_cel_flaw(text) or Flaw(0, "this is not CEL."),)
    flaws = tuple(static_flaws(reading, roots))
    return (None, flaws) if flaws else (expr, ())


def _cel_flaw(text: str) -> Flaw | None:
    try:
        cel().compile(text)
    except ValueError as error:
        return _syntax_flaw(text, str(error))
    return None


@lru_cache(maxsize=4096)
def parse_template(text: str, roots: Roots | None = None) -> tuple[Template | None, tuple[Flaw, ...]]:
    """Return the compiled template, or None and everything that is wrong with it."""
    parts: list[str | Expr] = []
    flaws: list[Flaw] = []
    done = 0
    while (start := text.find("${{", done)) >= 0:
        end = hole_end(text, start + 3)
        if end < 0:
            return None, (*flaws, Flaw(start, "this ${{ is not closed; end the expression with }}."))
        if sum(isinstance(part, Expr) for part in parts) == MAX_HOLES:
            return None, (*flaws, Flaw(start, f"a text has at most {MAX_HOLES} expressions; split this one."))
        inner = text[start + 3 : end]
        offset = start + 3 + len(inner) - len(inner.lstrip())
        expr, found = parse_expr(inner.strip(), roots)
        flaws += [Flaw(offset + flaw.offset, flaw.message) for flaw in found]
        parts += [part for part in (text[done:start], expr) if part]
        done = end + 2
    if text[done:]:
        parts.append(text[done:])
    whole = _without_margin(parts)
    return (None, tuple(flaws)) if flaws else (Template(text, whole), ())


def resolve(value: Any, scope: Mapping[str, Any]) -> Any:
    """Return a copy of a JSON value in which every ``${{ … }}`` is replaced by what it gives."""
    return compile_value(value)(scope)


def compile_value(value: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Return what `resolve` does with ``value``, worked out once for many scopes.

    Raises:
        InvalidInputError: a ``${{ … }}`` in it is no expression.
    """
    if isinstance(value, str):
        return compile_template(value).render if "${{" in value else lambda _: value
    if isinstance(value, Mapping):
        entries = [(key, compile_value(item)) for key, item in value.items()]
        return lambda scope: {key: item(scope) for key, item in entries}
    if isinstance(value, list | tuple):
        items = [compile_value(item) for item in value]
        return lambda scope: [item(scope) for item in items]
    return lambda _: value


def _without_margin(parts: list[str | Expr]) -> tuple[str | Expr, ...]:
    """Drop blanks around a single expression, so that it stays one whole value."""
    if sum(isinstance(part, Expr) for part in parts) == 1:
        solid = [part for part in parts if isinstance(part, Expr) or part.strip()]
        if len(solid) == 1:
            return tuple(solid)
    return tuple(parts)


def _syntax_flaw(text: str, message: str) -> Flaw:
    match = re.search(r"ERROR: <input>:(\d+):(\d+): (.*)", message)
    if not match:
        return Flaw(0, f"this is not CEL: {message[:200]}.")
    lines = text.split("\n")
    line = min(int(match[1]), len(lines))
    before = sum(len(part) + 1 for part in lines[: line - 1])
    offset = min(before + int(match[2]) - 1, len(text))
    said = match[3].removeprefix("Syntax error: ").split(" expecting ")[0]
    said = "it ends too early" if "<EOF>" in said else said
    return Flaw(offset, f"this is not CEL: {said[:200]}.")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
