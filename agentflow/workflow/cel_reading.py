"""What an expression reads and calls, known before it runs: paths, functions, nesting, and what is wrong in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agentflow.core.errors import nearest
from agentflow.workflow.cel_pattern import pattern_flaw
from agentflow.workflow.cel_syntax import FUNCTIONS, METHODS, Reference
from agentflow.workflow.cel_tree import Node, parse

MAX_NESTING = 2
"""Comprehensions inside one another."""

Roots = frozenset[str]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A mistake inside an expression, ``offset`` characters from the start of the text."""

    offset: int
    message: str


@dataclass(slots=True)
class Reading:
    """What an expression reads and calls. ``nesting`` counts comprehensions inside one another."""

    tree: Node
    references: list[Reference] = field(default_factory=list)
    """The paths that it reads, in the order of the text."""
    functions: list[tuple[str, int]] = field(default_factory=list)
    methods: list[tuple[str, int]] = field(default_factory=list)
    patterns: list[Node] = field(default_factory=list)
    nesting: int = 0


def read(text: str) -> Reading:
    """Collect what ``text`` refers to.

    Raises:
        UnreadableError: it is no expression.
    """
    reading = Reading(parse(text))
    _visit(reading.tree, frozenset(), 0, reading)
    return reading


def path_of(node: Node) -> tuple[str | int, ...] | None:
    """Return the constant path that a node is, or None."""
    start, parts = path_from(node)
    return (start.name, *parts) if start.kind == "name" else None


def path_from(node: Node) -> tuple[Node, tuple[str | int, ...]]:
    """Return where the constant fields and indexes at the end of a node begin, and these."""
    parts: list[str | int] = []
    while node.kind in ("select", "index"):
        if node.kind == "select":
            parts.append(node.name)
        else:
            key = node.args[1]
            if key.kind != "literal" or type(key.value) not in (str, int) or key.name[-1:] in "uU":
                break
            parts.append(key.value)
        node = node.args[0]
    return node, tuple(reversed(parts))


def static_flaws(reading: Reading, roots: Roots | None) -> Iterator[Flaw]:
    """Yield what is wrong with an expression wherever it stands; ``roots`` are the names it may start from."""
    if reading.nesting > MAX_NESTING:
        yield Flaw(
            0, f"{reading.nesting} comprehensions inside one another; at most {MAX_NESTING} are taken."
        )
    for name, offset in reading.functions:
        if name not in FUNCTIONS:
            yield Flaw(offset, unknown("function", name, FUNCTIONS))
    for name, offset in reading.methods:
        if name not in METHODS:
            yield Flaw(offset, unknown("method", name, METHODS))
    for node in reading.patterns:
        if message := pattern_flaw(node):
            yield Flaw(node.offset, message)
    for reference in reading.references:
        if roots is not None and reference.root not in roots:
            yield Flaw(reference.offset, unknown("name", reference.root, roots))


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """Return the message for a name that is not known, with the nearest one that is."""
    known = sorted(allowed)
    listed = f" Allowed here: {', '.join(known)}." if known else " No name is allowed here."
    return f"unknown {what} '{name[:60]}'.{nearest(name[:60], known)}{listed}"


def _visit(node: Node, bound: frozenset[str], nesting: int, reading: Reading) -> None:
    if _is_path(node, bound, reading):
        return
    if node.kind == "macro":
        reading.nesting = max(reading.nesting, nesting + 1)
        _visit(node.args[0], bound, nesting, reading)
        for body in node.args[1:]:
            _visit(body, bound | {node.value}, nesting + 1, reading)
        return
    if node.kind == "call":
        reading.functions.append((node.name, node.offset))
    elif node.kind == "method":
        reading.methods.append((node.name, node.offset))
    if node.name == "matches" and node.kind in ("call", "method"):
        reading.patterns.append(node)
    for arg in node.args:
        _visit(arg, bound, nesting, reading)


def _is_path(node: Node, bound: frozenset[str], reading: Reading) -> bool:
    """Note a constant path that starts in the scope, and not at a name that a comprehension binds."""
    if node.kind == "has":
        parts = path_of(node.args[0])
        parts = None if parts is None else (*parts, node.name)
    else:
        parts = path_of(node)
    if parts is None or parts[0] in bound:
        return False
    first = node
    while first.args:
        first = first.args[0]
    names = itertools.takewhile(lambda part: isinstance(part, str), parts)
    reading.references.append(Reference(tuple(str(name) for name in names), first.offset))
    return True
