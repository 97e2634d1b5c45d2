"""Comprehensions, driven here: CEL is given one item after the other, and the work is counted between them.

CEL's own ``map`` and ``filter`` copy their result with every item, and nothing can stop them. Here each item is
looked up by the paths that the body names, and only what lies there is handed to CEL, which evaluates every
operator. Work is counted in nanoseconds that are bounded beforehand, never read from a clock: what passed once
passes on a slower machine too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from agentflow.workflow.cel_cost import MAX_WORK_NS, Bound
from agentflow.workflow.cel_engine import cel, failure, undefined
from agentflow.workflow.cel_tree import Node
from agentflow.workflow.cel_values import (
    NO_OPERATION,
    SCALAR,
    EvaluationError,
    Intake,
    Shape,
    TooMuchError,
    follow,
    is_list,
    is_map,
    text_shape,
)

ENTRY_NS, ROUND_NS, BODY_NS, LOOKUP_NS = 15_000, 400, 500, 300
"""To begin a comprehension, one pass, one evaluation of a body, and to look up one path, without what CEL does."""
_SHORT = 64
"""Characters up to which a text counts as one that long."""
_SHORT_NS = {int: 150, float: 800, bool: 100, type(None): 100, str: 1_300}
"""To convert one such value."""
_MAX_KNOWN = 256


class _Absent:
    """In the place of the type of a value that is not there."""


class Source(Protocol):
    """What gives a value: a path, a comprehension, or a program of CEL."""

    @property
    def free(self) -> frozenset[str]:
        """The names bound by comprehensions around it that it reads."""

    def value(self, run: Run) -> Any:
        """Return the value.

        Raises:
            EvaluationError: it has none.
            TooMuchError: it takes more work than is left.
        """


@dataclass(slots=True)
class Run:
    """One evaluation of the expression ``text``, with the work that is left to it."""

    text: str
    scope: Mapping[str, Any]
    left_ns: int
    bound: dict[str, Any] = field(default_factory=dict)
    repeated: dict[Program, Rounds] = field(default_factory=dict)

    def spend(self, ns: int) -> None:
        """Count some work.

        Raises:
            TooMuchError: it is more than is left.
        """
        self.left_ns -= ns
        if self.left_ns < 0:
            raise TooMuchError(f"work of more than {MAX_WORK_NS // 1_000_000} ms", _allowed())

    def execute(self, program: Any, context: Any, missing: Mapping[str, EvaluationError]) -> Any:
        """Let CEL evaluate a program."""
        try:
            return program.execute(context)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # CEL's panics are no Exception; they must not end the process
            gone = missing.get(undefined(error))
            found, allowed = failure(error, self.text) if gone is None else (gone.found, gone.allowed)
        raise EvaluationError(found, allowed)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A constant path into the scope or into what a comprehension binds; ``asks`` whether its end is there."""

    parts: tuple[str | int, ...]
    asks: bool
    free: frozenset[str] = frozenset()

    def value(self, run: Run) -> Any:
        """Return what lies there."""
        return self.found(run.bound if self.free else run.scope)

    def found(self, scope: Mapping[str, Any]) -> Any:
        """Return what lies there in a scope."""
        if self.asks:
            holder = follow(scope, self.parts[:-1])
            if not isinstance(holder, Mapping):
                raise EvaluationError(*NO_OPERATION)
            return self.parts[-1] in holder
        value: Any = scope
        for part in self.parts:
            kind = type(value)
            if not (
                part in value if kind is dict else kind is list and type(part) is int and part < len(value)
            ):
                return follow(scope, self.parts)
            value = value[part]
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What lies at a path in the result of a comprehension, or without a path, its size."""

    of: Loop
    parts: tuple[str | int, ...]
    free: frozenset[str]

    def value(self, run: Run) -> Any:
        """Return what lies there."""
        whole = self.of.value(run)
        return follow(whole, self.parts) if self.parts else len(whole)


@dataclass(slots=True, eq=False)
class Program:
    """A part of an expression that CEL evaluates at once, given values alone.

    ``moving`` are the inputs that change with every item of the comprehension whose body it is.
    """

    text: str
    tree: Node
    fixed: dict[str, Source]
    moving: dict[str, Source]
    free: frozenset[str]
    code: Any = None
    reads: dict[str, int] = field(default_factory=dict)
    known: dict[tuple[Shape, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.code = cel().compile(self.text)
        for node in self.tree.walk():
            if node.kind == "name":
                self.reads[node.name] = self.reads.get(node.name, 0) + 1

    def value(self, run: Run) -> Any:
        """Return the value where no input is moving."""
        values, shapes, missing, ns = _taken(self.fixed, run)
        run.spend(self.bound_ns(shapes, ns, run.left_ns))
        return run.execute(self.code, values, missing)

    def bound_ns(self, shapes: Mapping[str, Shape], before_ns: int, left_ns: int) -> int:
        """Return a bound of one evaluation, of which ``before_ns`` go into handing the values over.

        Raises:
            TooMuchError: it is more than what is left.
        """
        key = tuple(shapes.values())
        simple = all(shape.item is None for shape in key)
        total = before_ns + self.known[key] if simple and key in self.known else 0
        if not 0 < total <= left_ns:
            bound = Bound(dict(shapes))
            bound.of(self.tree, body=bool(self.moving))
            total = before_ns + bound.ns
            if total > left_ns:
                raise TooMuchError(*bound.refusal(before_ns + MAX_WORK_NS - left_ns, MAX_WORK_NS))
            if simple and len(self.known) < _MAX_KNOWN:
                self.known[key] = bound.ns
        return total

    def rounds(self, run: Run) -> Callable[[], Any]:
        """Return what evaluates this body for the item that is bound; one for a whole run where nothing changes."""
        if any(source.free for source in self.fixed.values()):
            return Rounds(self, run)
        if self not in run.repeated:
            run.repeated[self] = Rounds(self, run)
        return run.repeated[self]


_Taken = tuple[dict[str, Any], dict[str, Shape], dict[str, EvaluationError], int]


def _taken(sources: Mapping[str, Source], run: Run) -> _Taken:
    """Return values as CEL is given them, their bounds, those that are missing, and the time of converting them."""
    values: dict[str, Any] = {}
    shapes: dict[str, Shape] = {}
    missing: dict[str, EvaluationError] = {}
    intake = Intake(run.left_ns)
    for name, source in sources.items():
        try:
            value = source.value(run)
        except EvaluationError as error:
            missing[name], shapes[name] = error, SCALAR
        else:
            intake.limit_ns = run.left_ns
            values[name], shapes[name] = intake.take(value)
    return values, shapes, missing, intake.ns


class Rounds:
    """Evaluates the body of a comprehension for one item after the other.

    CEL asks for what changes with the item; what does not is converted once. CEL takes an answer of None as
    none at all, so that a null is one of the values that do not change.
    """

    def __init__(self, program: Program, run: Run) -> None:
        self.program, self.run = program, run
        self.fixed, self.shapes, self.missing, self.fixed_ns = _taken(program.fixed, run)
        run.spend(self.fixed_ns)
        self.moving = tuple(program.moving.items())
        self.names = tuple(program.moving)
        self.answers: dict[str, Any] = {}
        self.contexts: dict[tuple[type, ...], Any] = {}
        self.ways: dict[tuple[type, ...], tuple[int, Any]] = {}

    def __call__(self) -> Any:
        """Return the value of the body for the item that is bound."""
        run = self.run
        values: list[Any] = []
        kinds: list[type] = []
        for name, source in self.moving:
            try:
                value = source.value(run)
                kinds.append(type(value))
            except EvaluationError as error:
                self.missing[name], value = error, None
                kinds.append(_Absent)
            values.append(value)
        way = self.ways.get(tuple(kinds))
        if way is None or (str in kinds and _longest(values) > _SHORT):
            ns, context = self._way(values, kinds)
        else:
            ns, context = way
        run.spend(ns)
        self.answers.update(zip(self.names, values, strict=True))
        return run.execute(self.program.code, context, self.missing)

    def _way(self, values: list[Any], kinds: list[type]) -> tuple[int, Any]:
        """Return the work of values of these kinds, and where CEL finds them; make ``values`` plain."""
        shapes = dict(self.shapes)
        ns = BODY_NS + LOOKUP_NS * len(kinds)
        short = all(kind in _SHORT_NS or kind is _Absent for kind in kinds) and _longest(values) <= _SHORT
        for index, (name, kind) in enumerate(zip(self.names, kinds, strict=True)):
            if short:
                shapes[name], taken_ns = text_shape(_SHORT) if kind is str else SCALAR, _SHORT_NS.get(kind, 0)
            else:
                intake = Intake(self.run.left_ns)
                values[index], shapes[name] = intake.take(values[index])
                taken_ns = intake.ns
            ns += taken_ns * self.program.reads[name]
        ns = self.program.bound_ns(shapes, ns, self.run.left_ns)
        way = ns, self._context(tuple(kind if kind in (type(None), _Absent) else object for kind in kinds))
        if short and len(self.ways) < _MAX_KNOWN:
            self.ways[tuple(kinds)] = way
        return way

    def _context(self, kinds: tuple[type, ...]) -> Any:
        """Return where CEL finds what does not change, and a null where the item has one."""
        if kinds not in self.contexts:
            self.run.spend(self.fixed_ns if self.contexts else 0)
            context = self.contexts[kinds] = cel().Context()
            for name, value in self.fixed.items():
                context.add_variable(name, value)
            for name, kind in zip(self.names, kinds, strict=True):
                if kind is not object and kind is not _Absent:
                    context.add_variable(name, None)
            context.set_variable_resolver(self.answers.get)
        return self.contexts[kinds]


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A comprehension: ``name`` is its macro, ``test`` decides about an item, ``result`` is what `map` gathers."""

    name: str
    variable: str
    over: Source
    test: Source | None
    result: Source | None
    free: frozenset[str]

    def value(self, run: Run) -> Any:
        """Return what the comprehension gives."""
        items = self.over.value(run)
        if not is_list(items) and not is_map(items):
            raise EvaluationError(*NO_OPERATION)
        run.spend(ENTRY_NS)
        test, result = _repeated(self.test, run), _repeated(self.result, run)
        hidden = {self.variable: run.bound[self.variable]} if self.variable in run.bound else {}
        progress = [0]
        try:
            return self._driven(self._rounds(items, run, progress), test, result)
        except TooMuchError:
            if progress[0] <= 1:
                raise
            raise TooMuchError(
                f"work of more than {MAX_WORK_NS // 1_000_000} ms: "
                f"'{self.name}' over {len(items)} items came to item {progress[0]}",
                _allowed(),
            ) from None
        finally:
            run.bound.pop(self.variable, None)
            run.bound.update(hidden)

    def _rounds(self, items: Iterable[Any], run: Run, progress: list[int]) -> Iterator[Any]:
        """Bind one item after the other."""
        bound, variable, spend = run.bound, self.variable, run.spend
        for progress[0], item in enumerate(items, 1):
            spend(ROUND_NS)
            bound[variable] = item
            yield item

    def _driven(
        self, rounds: Iterator[Any], test: Callable[[], Any] | None, result: Callable[[], Any] | None
    ) -> Any:
        if result is not None:
            return [result() for _ in rounds if test is None or _truth(test())]
        assert test is not None  # noqa: S101 - every other macro has one
        if self.name == "filter":
            return [item for item in rounds if _truth(test())]
        if self.name == "all":
            return all(_truth(test()) for _ in rounds)
        if self.name == "exists":
            return any(_truth(test()) for _ in rounds)
        return sum(_truth(test()) for _ in rounds) == 1


def _repeated(source: Source | None, run: Run) -> Callable[[], Any] | None:
    if source is None:
        return None
    return source.rounds(run) if isinstance(source, Program) else partial(source.value, run)


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise EvaluationError(*NO_OPERATION)


def _longest(values: list[Any]) -> int:
    return max((len(value) for value in values if type(value) is str), default=0)


def _allowed() -> str:
    return f"{MAX_WORK_NS // 1_000_000} ms; take fewer items, shorter text or less nesting"
