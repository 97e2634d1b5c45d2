"""`Expr` and `Template`: CEL behind limits that are checked before it runs, given only what it names.

Compile once (`compile_expr`, `compile_template`, `compile_value`), evaluate often. An expression can read what
its place allows, cannot change anything, never turns a non-boolean into a condition, and is refused where it
could hold the process for longer than 50 ms (`cel_cost`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from typing import Any

from agentflow.core.errors import InvalidInputError, MissingSecretError
from agentflow.core.records import canonical_json
from agentflow.workflow.cel_cost import MAX_WORK_NS, Bound
from agentflow.workflow.cel_reading import Flaw, Path, Reading, Roots, read, static_flaws
from agentflow.workflow.cel_syntax import MAX_LENGTH, Reference, hole_end
from agentflow.workflow.cel_tree import TooDeepError, UnreadableError, parse
from agentflow.workflow.cel_values import (
    NO_ITEM,
    NO_KEY,
    NO_OPERATION,
    SCALAR,
    Copier,
    Intake,
    MissingError,
    Shape,
    UnfitError,
    follow,
    type_name,
)

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
COPY_NS, WRITE_NS = 150, 700
"""To copy one value that needs no CEL, and to copy it and write it into a text."""
_MAX_KNOWN = 256


@cache
def _cel() -> Any:
    """Return CEL's extension module, without its package, which imports a command line (0.25 s)."""
    package = PathFinder.find_spec("cel")
    spec = PathFinder.find_spec("cel.cel", package.submodule_search_locations) if package else None
    if "cel" in sys.modules or spec is None or spec.loader is None:
        return importlib.import_module("cel")
    module = importlib.util.module_from_spec(spec)
    sys.modules["cel.cel"] = module
    spec.loader.exec_module(module)
    return module


class Expr:
    """A compiled expression. Made by `compile_expr`."""

    def __init__(self, text: str, reading: Reading) -> None:
        self.text = text
        self.references: tuple[Reference, ...] = tuple(reading.references)
        self.nesting = reading.nesting
        self._plain = reading.plain
        self._names = reading.names()
        inner = reading.renamed(text)
        self._program = _cel().compile(inner)
        self._tree = reading.tree if inner == text else parse(inner)
        self._known: dict[tuple[Shape, ...], int] = {}

    def __repr__(self) -> str:
        return f"Expr({self.text!r})"

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """Return the JSON value of the expression; ``scope`` holds a value for each root that it names.

        Raises:
            InvalidInputError: it cannot be evaluated on these values, or might take too long; the message
                carries no value of them.
            MissingSecretError: it names a secret that is not set.
        """
        return self.work_out(scope, MAX_WORK_NS)[0]

    def condition(self, scope: Mapping[str, Any]) -> bool:
        """Return the truth of a condition. Only true and false count: there is no truthiness.

        Raises:
            InvalidInputError: it is not a boolean, or cannot be evaluated.
        """
        result = self.evaluate(scope)
        if not isinstance(result, bool):
            raise self._error(type_name(result), "a condition that is true or false, such as a comparison")
        return result

    def work_out(self, scope: Mapping[str, Any], left_ns: int, value_ns: int = COPY_NS) -> tuple[Any, int]:
        """Return the value, and a bound of the time that it took; at most ``left_ns`` may be taken.

        ``value_ns`` is what copying a value costs, and whatever is done with it next.

        Raises:
            InvalidInputError: see `evaluate`.
        """
        if self._plain is not None:
            return self._read_plain(self._plain, scope, left_ns, value_ns)
        context, missing, work = self._prepared(scope, left_ns)
        try:
            result = self._program.execute(context)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # CEL's panics are no Exception; they must not end the process
            raise self._error(*_failure(error, missing)) from None
        return self._copied(result, MAX_WORK_NS // COPY_NS, COPY_NS)[0], work

    def try_types(self, scope: Mapping[str, Any]) -> Any:
        """Return what the expression gives on sample values, or itself where these values decide nothing.

        Raises:
            TypeError: its operands do not fit each other; the message names them.
        """
        if self._plain is not None:
            return self._read_plain(self._plain, scope, MAX_WORK_NS, COPY_NS)[0]
        context, missing, _ = self._prepared(scope, MAX_WORK_NS)
        if missing:
            return self
        try:
            return self._program.execute(context)
        except TypeError as error:
            raise TypeError(_type_clash(str(error))) from None
        except Exception:
            return self

    def _read_plain(
        self, path: Path, scope: Mapping[str, Any], left_ns: int, value_ns: int
    ) -> tuple[Any, int]:
        """Return what lies at the path that is the whole expression, which needs no CEL."""
        try:
            value = _look_up(path, scope)
        except MissingError as error:
            raise self._error(error.found, error.allowed) from None
        if type(value) is str or value is None or type(value) is bool:
            return value, value_ns
        return self._copied(value, left_ns // value_ns, value_ns)

    def _copied(self, value: Any, limit: int, value_ns: int) -> tuple[Any, int]:
        copier = Copier(limit)
        try:
            return copier.copy(value), value_ns * (1 + copier.values)
        except UnfitError as error:
            raise self._error(error.found, error.allowed) from None

    def _prepared(
        self, scope: Mapping[str, Any], left_ns: int
    ) -> tuple[dict[str, Any], dict[str, MissingError], int]:
        """Return what CEL is given, which paths lead nowhere, and a bound of the time that it takes."""
        context: dict[str, Any] = {}
        missing: dict[str, MissingError] = {}
        shapes: list[Shape] = []
        intake = Intake(left_ns)
        for name, path in self._names.items():
            try:
                context[name], shape = intake.take(_look_up(path, scope))
            except MissingError as error:
                missing[name], shape = error, SCALAR
            except UnfitError as error:
                raise self._error(error.found, error.allowed) from None
            shapes.append(shape)
        return context, missing, self._bound(tuple(shapes), intake.ns, left_ns)

    def _bound(self, shapes: tuple[Shape, ...], before_ns: int, left_ns: int) -> int:
        """Return a bound of the whole evaluation, of which ``before_ns`` go into handing the values over."""
        simple = all(shape.item is None for shape in shapes)
        total = before_ns + self._known[shapes] if simple and shapes in self._known else 0
        if not 0 < total <= left_ns:
            bound = Bound(dict(zip(self._names, shapes, strict=True)))
            bound.of(self._tree)
            total = before_ns + bound.ns
            if total > left_ns:
                raise self._error(*bound.refusal(before_ns + MAX_WORK_NS - left_ns, MAX_WORK_NS))
            if simple and len(self._known) < _MAX_KNOWN:
                self._known[shapes] = bound.ns
        return total

    def _error(self, found: str, allowed: str) -> InvalidInputError:
        return InvalidInputError(f"expression `{self.text}`", found, allowed)


def _look_up(path: Path, scope: Mapping[str, Any]) -> Any:
    if not path.asks:
        return follow(scope, path.parts)
    holder = follow(scope, path.parts[:-1])
    if not isinstance(holder, Mapping):
        raise MissingError(*NO_OPERATION)
    return path.parts[-1] in holder


def _failure(error: BaseException, missing: Mapping[str, MissingError]) -> tuple[str, str]:
    """Return what was found and what is allowed, without any value."""
    text = str(error)
    match error:
        case KeyError():
            return f"no key {error}", NO_KEY
        case IndexError():
            return text, NO_ITEM
        case ZeroDivisionError():
            return "a division by zero", "a divisor that is not 0"
        case OverflowError():
            return "a whole number beyond 64 bits", "results within 64 bits; convert with double(x)"
        case TypeError():
            return _type_clash(text), NO_OPERATION[1]
    if match := re.match(r"Undefined variable or function: '(\w+)'", text):
        if gone := missing.get(match[1]):
            return gone.found, gone.allowed
        return f"a value that '{match[1]}' does not take", "what CEL can evaluate"
    if match := re.match(r"Function '(\w+)' error", text):
        return f"a value that '{match[1]}' does not take", "what CEL can evaluate"
    return f"what CEL cannot evaluate ({type(error).__name__})", "what CEL can evaluate"


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
        return None, (_cel_flaw(text) or Flaw(error.offset, error.message),)
    try:
        expr = Expr(text, reading)
    except ValueError:
        return None, (_cel_flaw(text) or Flaw(0, "this is not CEL."),)
    flaws = tuple(static_flaws(reading, roots))
    return (None, flaws) if flaws else (expr, ())


def _cel_flaw(text: str) -> Flaw | None:
    try:
        _cel().compile(text)
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


def _type_clash(message: str) -> str:
    match = re.match(r"Unsupported operation: (.*?)\. CEL", message)
    return match[1] if match else "operands that the operation does not take"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
