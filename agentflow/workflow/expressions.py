"""`Expr` and `Template`: CEL behind static caps, given only the paths that it names.

Compile once (`compile_expr`, `compile_template`), evaluate often. An expression can read what its place
allows, cannot change anything, and never turns a non-boolean into a condition.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from typing import Any

from agentflow.core.errors import InvalidInputError, MissingSecretError, nearest
from agentflow.core.records import canonical_json
from agentflow.workflow.cel_syntax import FUNCTIONS, MAX_LENGTH, METHODS, Reading, Reference, hole_end, read

MAX_NESTING = 2
"""Comprehensions inside one another."""
MAX_ITEMS = 10_000
"""Items of a list that an expression may look at."""
MAX_ROUNDS = 1_000_000
"""Passes of all nested comprehensions together over the longest list."""

Roots = frozenset[str]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A mistake inside an expression, ``offset`` characters from the start of the text."""

    offset: int
    message: str


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
    """A compiled CEL expression. Made by `compile_expr`."""

    def __init__(self, text: str, program: Any, reading: Reading) -> None:
        self.text = text
        self.references: tuple[Reference, ...] = tuple(reading.references)
        self.nesting = reading.nesting
        self._program = program
        self._paths = _shortest(reference.path for reference in reading.references)

    def __repr__(self) -> str:
        return f"Expr({self.text!r})"

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """Return the JSON value of the expression; ``scope`` holds a value for each root that it names.

        Raises:
            InvalidInputError: it cannot be evaluated on these values; the message carries no value of them.
            MissingSecretError: it names a secret that is not set.
        """
        context: dict[str, Any] = {}
        for path in self._paths:
            _copy_path(scope, context, path)
        self._check_size(context)
        try:
            result = self._program.execute(context)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # CEL's panics are no Exception; they must not end the process
            raise self._failure(error) from None
        self._check_result(result)
        return result

    def condition(self, scope: Mapping[str, Any]) -> bool:
        """Return the truth of a condition. Only true and false count: there is no truthiness.

        Raises:
            InvalidInputError: it is not a boolean, or cannot be evaluated.
        """
        result = self.evaluate(scope)
        if not isinstance(result, bool):
            raise self._error(type_name(result), "a condition that is true or false, such as a comparison")
        return result

    def try_types(self, scope: Mapping[str, Any]) -> Any:
        """Return what the expression gives on sample values, or itself where these values decide nothing.

        Raises:
            TypeError: its operands do not fit each other; the message names them.
        """
        try:
            return self._program.execute(dict(scope))
        except TypeError as error:
            raise TypeError(_type_clash(str(error))) from None
        except Exception:
            return self

    def _error(self, found: str, allowed: str) -> InvalidInputError:
        return InvalidInputError(f"expression `{self.text}`", found, allowed)

    def _failure(self, error: BaseException) -> InvalidInputError:
        match error:
            case KeyError():
                return self._error(f"no key {error}", "a key that is there; test it with has(…) first")
            case IndexError():
                return self._error(str(error), "an index within the list; test size(…) first")
            case ZeroDivisionError():
                return self._error("a division by zero", "a divisor that is not 0")
            case TypeError():
                return self._error(
                    _type_clash(str(error)), "operands of one type; convert with double(x), int(x)"
                )
        return self._error(str(error).split(". Check")[0].split("\n")[0][:300], "what CEL can evaluate")

    def _check_size(self, context: Any) -> None:
        longest = max(_lengths(context), default=0)
        if longest > MAX_ITEMS:
            raise self._error(f"a list of {longest} items", f"lists of at most {MAX_ITEMS} items")
        if self.nesting > 1 and longest**self.nesting > MAX_ROUNDS:
            most = math.isqrt(MAX_ROUNDS)
            raise self._error(
                f"{self.nesting} nested passes over {longest} items", f"at most {most} items there"
            )

    def _check_result(self, value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                self._check_result(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise self._error(f"the map key {key!r}", "map keys that are text")
                self._check_result(item)
        elif isinstance(value, float) and not math.isfinite(value):
            raise self._error(f"the number {value}", "a finite number")
        elif not (value is None or isinstance(value, bool | int | float | str)):
            raise self._error(
                f"a {type(value).__name__}", "text, a number, true, false, null, a list or a map"
            )


class Template:
    """Text with ``${{ … }}``. One whole expression keeps its type; mixed text gives text."""

    def __init__(self, text: str, parts: tuple[str | Expr, ...]) -> None:
        self.text, self.parts = text, parts

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
        if self.whole is not None:
            return self.whole.evaluate(scope)
        return "".join(
            part if isinstance(part, str) else _as_text(part.evaluate(scope)) for part in self.parts
        )


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
        program = _cel().compile(text)
    except ValueError as error:
        return None, (_syntax_flaw(text, str(error)),)
    reading = read(text)
    flaws = tuple(_static_flaws(reading, roots))
    if not flaws:
        known = {reference.root for reference in reading.references} | reading.bound
        hidden = sorted(set(program.variables()) - known)
        flaws = tuple(
            Flaw(0, f"'{name}' cannot be read like this; write it as a plain path.") for name in hidden
        )
    return (None, flaws) if flaws else (Expr(text, program, reading), ())


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
    if isinstance(value, str):
        return compile_template(value).render(scope) if "${{" in value else value
    if isinstance(value, Mapping):
        return {key: resolve(item, scope) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, scope) for item in value]
    return value


def type_name(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {
        str: "text",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "a list",
        dict: "a map",
    }
    return "nothing (null)" if value is None else names.get(type(value), type(value).__name__)


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


def _static_flaws(reading: Reading, roots: Roots | None) -> Iterator[Flaw]:
    if reading.nesting > MAX_NESTING:
        yield Flaw(
            0, f"{reading.nesting} comprehensions inside one another; at most {MAX_NESTING} are taken."
        )
    for name, offset in reading.functions:
        if name not in FUNCTIONS:
            yield Flaw(offset, _unknown("function", name, FUNCTIONS))
    for name, offset in reading.methods:
        if name not in METHODS:
            yield Flaw(offset, _unknown("method", name, METHODS))
    for reference in reading.references:
        if roots is not None and reference.root not in roots:
            yield Flaw(reference.offset, _unknown("name", reference.root, roots))


def _unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    known = sorted(allowed)
    listed = f" Allowed here: {', '.join(known)}." if known else " No name is allowed here."
    return f"unknown {what} '{name[:60]}'.{nearest(name[:60], known)}{listed}"


def _shortest(paths: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return the paths without those below another one."""
    kept: list[tuple[str, ...]] = []
    for path in sorted(set(paths), key=lambda path: (len(path), path)):
        if not any(path[: len(short)] == short for short in kept):
            kept.append(path)
    return tuple(kept)


def _copy_path(source: Mapping[str, Any], target: dict[str, Any], path: tuple[str, ...]) -> None:
    """Copy what lies at ``path``, and nothing beside it; a path that is not there copies its maps only."""
    for index, part in enumerate(path):
        if part not in source:
            return
        value = source[part]
        if index == len(path) - 1 or not isinstance(value, Mapping):
            target[part] = value
            return
        source, target = value, target.setdefault(part, {})


def _lengths(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _lengths(item)
    elif isinstance(value, list | tuple):
        yield len(value)
        if len(value) <= MAX_ITEMS:
            for item in value:
                yield from _lengths(item)


def _type_clash(message: str) -> str:
    match = re.match(r"Unsupported operation: (.*?)\. CEL", message)
    return match[1] if match else "operands that the operation does not take"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
