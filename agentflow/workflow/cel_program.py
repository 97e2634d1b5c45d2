"""A compiled expression: it takes the values at its paths, bounds its own time, and lets CEL do the rest."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.machinery import PathFinder
from typing import Any

from agentflow.core.errors import InvalidInputError
from agentflow.workflow.cel_cost import MAX_WORK_NS, Bound
from agentflow.workflow.cel_reading import Flaw, Path, Reading
from agentflow.workflow.cel_syntax import Reference
from agentflow.workflow.cel_types import Typing
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
from agentflow.workflow.types import Type

COPY_NS, WRITE_NS = 150, 700
"""To copy one value that needs no CEL, and to copy it and write it into a text."""
_MAX_KNOWN = 256


@cache
def cel() -> Any:
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
        self._read_tree = reading.tree
        self._names = reading.names()
        inner, self._tree = reading.renamed(text)
        self._program = cel().compile(inner)
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
            raise self._error(*_failure(error, missing, self.text)) from None
        return self._copied(result, MAX_WORK_NS // COPY_NS, COPY_NS)[0], work

    def static_type(self, types: Mapping[str, Type]) -> tuple[Type, tuple[Flaw, ...]]:
        """Return the type of the value, where roots have these types, and the operands that cannot fit.

        A root without a type is anything; offsets count from the start of the expression.
        """
        return Typing.of(self.text, self._read_tree, types)

    def try_types(self, scope: Mapping[str, Any]) -> Any:
        """Return what the expression gives on sample values, or itself where these values decide nothing.

        Raises:
            TypeError: its operands do not fit each other; the message names them.
        """
        try:
            if self._plain is not None:
                return self.evaluate(scope)
            context, missing, _ = self._prepared(scope, MAX_WORK_NS)
            return self if missing else self._program.execute(context)
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


def _failure(error: BaseException, missing: Mapping[str, MissingError], source: str) -> tuple[str, str]:
    """Return what was found and what is allowed, without any value that does not stand in the expression."""
    text = str(error)
    match error:
        case KeyError():
            return f"no key {error}" if text.strip("'") in source else "a key that is not there", NO_KEY
        case IndexError():
            said = text.rpartition(" ")[2] in source
            return text if said else "an index out of bounds", NO_ITEM
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


def _type_clash(message: str) -> str:
    match = re.match(r"Unsupported operation: (.*?)\. CEL", message)
    return match[1] if match else "operands that the operation does not take"
