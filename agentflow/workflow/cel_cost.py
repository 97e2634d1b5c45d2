"""An upper bound of the time that an expression takes on given values, worked out before CEL sees them.

CEL holds the interpreter and cannot be stopped, so what might take too long is refused. The constants are
times of one operation, each above what `benchmarks/expressions.py` measures; they follow how the evaluator
works: it copies a value whenever a field is read, and ``map`` and ``filter``, where they are not driven by
`cel_loops`, copy their whole result so far with every item, which makes them quadratic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from agentflow.workflow.cel_pattern import pattern_ns
from agentflow.workflow.cel_tree import Node
from agentflow.workflow.cel_values import LIST_WEIGHT, MAP_WEIGHT, SCALAR, Shape, join, text_shape

MAX_WORK_NS = 30_000_000
"""What one evaluation may be bounded by: less than the 50 ms that none may take, for slower machines."""

OPERATION_NS, CALL_NS, ROUND_NS = 150, 800, 1_000
"""One operation, one call of a function, and one pass of a comprehension, each without what it copies."""
COPY_NS, COMPARE_NS = 70, 30
"""To copy or compare one value of many, and to compare two values at all."""
RESULT_NS, BODY_RESULT_NS, SCALAR_RESULT_NS = 600, 300, 100
"""To hand one value of the result back and write it as JSON, one of a body's, and a body's plain one."""
READ_NS = 40
"""To read one character of a number, a time or a duration."""
_MAX_JOINS = 5_000

_LOGIC = frozenset({"&&", "||"})
_READERS = frozenset({"double", "duration", "int", "timestamp", "uint"})
_EQUAL = frozenset({"==", "!="})


@dataclass(slots=True)
class Bound:
    """The bound of one evaluation. ``worst`` is the operation that costs most, with its time and its operand."""

    scope: dict[str, Shape]
    ns: int = 0
    times: int = 1
    joins: int = 0
    worst: tuple[int, Node | None, Shape] = (0, None, SCALAR)

    def of(self, tree: Node, *, body: bool = False) -> Shape:
        """Return the bound of the value of an expression, having added up what it and its result cost."""
        shape = self.visit(tree)
        if body:
            ns = BODY_RESULT_NS * shape.weight if shape.weight > 1 else SCALAR_RESULT_NS
        else:
            ns = RESULT_NS * shape.weight
        self.charge(tree, ns, shape)
        return shape

    def refusal(self, before_ns: int, limit_ns: int) -> tuple[str, str]:
        """Return what is too large, and what is allowed, after what was spent before and under the whole limit."""
        node, shape = self.worst[1:]
        doing = "the result" if node is None else f"'{node.name}'"
        size = f"{shape.length} items or characters" if shape.length else f"{shape.weight} values"
        return (
            f"work of up to {math.ceil((self.ns + before_ns) / 1e6)} ms, most of it in {doing} over up to {size}",
            f"{limit_ns // 1_000_000} ms; take fewer items, shorter text or less nesting",
        )

    def charge(self, node: Node, ns: int, shape: Shape = SCALAR) -> None:
        """Add the cost of one operation, as often as it may run."""
        total = ns * self.times
        self.ns += total
        if total > self.worst[0]:
            self.worst = total, node, shape

    def joined(self, one: Shape, other: Shape) -> Shape:
        """Return the bound of either; a plainer one when there have been very many."""
        self.joins += 1 + len(one.fields or ()) + len(other.fields or ())
        if self.joins > _MAX_JOINS:
            return Shape(max(one.weight, other.weight), max(one.length, other.length))
        return join(one, other)

    def visit(self, node: Node) -> Shape:
        """Return the bound of a node's value."""
        return _VISITS[node.kind](self, node)

    def _literal(self, node: Node) -> Shape:
        shape = text_shape(len(node.value)) if isinstance(node.value, str | bytes) else SCALAR
        self.charge(node, OPERATION_NS + COPY_NS * _cells(shape), shape)
        return shape

    def _name(self, node: Node) -> Shape:
        self.charge(node, OPERATION_NS)
        return self.scope.get(node.name, SCALAR)

    def _part(self, node: Node) -> Shape:
        whole = self.visit(node.args[0])
        if node.kind == "index":
            key = node.args[1]
            self.visit(key)
            found = whole.part(key.value if isinstance(key.value, str) else None)
        else:
            found = whole.part(node.name)
        self.charge(node, OPERATION_NS + COPY_NS * _cells(found) + whole.length, whole)
        return SCALAR if node.kind == "has" else found

    def _call(self, node: Node) -> Shape:
        shapes = [self.visit(arg) for arg in node.args]
        largest = max(shapes, key=lambda shape: shape.weight, default=SCALAR)
        self.charge(node, CALL_NS + 2 * COPY_NS * sum(map(_cells, shapes)), largest)
        if node.name in _READERS:
            self.charge(node, READ_NS * largest.length, largest)
        if node.name == "matches" and isinstance(node.args[-1].value, str):
            self.charge(node, pattern_ns(node.args[-1].value, largest.length), largest)
        if node.name in ("string", "bytes"):
            return text_shape(3 * largest.length + 64)
        return largest if node.name == "dyn" else SCALAR

    def _binary(self, node: Node) -> Shape:
        left, right = (self.visit(arg) for arg in node.args)
        result, cells, compared = SCALAR, 2 * (_cells(left) + _cells(right)), 0
        if node.name in _LOGIC:
            cells = 0
        elif node.name in _EQUAL:
            cells = min(_cells(left), _cells(right))
        elif node.name == "in":
            compared = right.length
            cells = compared * min(_cells(left), _cells(right.part()))
        elif node.name == "+" and (left.length or right.length):
            item = None if left.item is None or right.item is None else self.joined(left.item, right.item)
            result = Shape(left.weight + right.weight, left.length + right.length, item)
        ns = OPERATION_NS + COPY_NS * cells + COMPARE_NS * compared
        self.charge(node, ns, max(left, right, key=lambda shape: shape.weight))
        return result

    def _unary(self, node: Node) -> Shape:
        shape = self.visit(node.args[0])
        self.charge(node, OPERATION_NS + COPY_NS * _cells(shape), shape)
        return SCALAR

    def _choice(self, node: Node) -> Shape:
        _, one, other = (self.visit(arg) for arg in node.args)
        self.charge(node, OPERATION_NS)
        return self.joined(one, other)

    def _sequence(self, node: Node) -> Shape:
        shapes = [self.visit(arg) for arg in node.args]
        base = LIST_WEIGHT if node.kind == "list" else MAP_WEIGHT
        weight = base + sum(shape.weight for shape in shapes)
        self.charge(node, OPERATION_NS + 3 * COPY_NS * weight)
        item = reduce(self.joined, shapes) if shapes else SCALAR
        if node.kind == "list":
            return Shape(weight, len(shapes), item, {})
        keys = [key.value for key in node.args[::2]]
        known = all(isinstance(key, str) for key in keys)
        return Shape(weight, len(keys), item, dict(zip(keys, shapes[1::2], strict=True)) if known else None)

    def _macro(self, node: Node) -> Shape:
        over = self.visit(node.args[0])
        self.charge(node, OPERATION_NS + COPY_NS * over.weight, over)
        rounds, outer, hidden = over.length, self.times, self.scope.get(node.value)
        self.times = outer * rounds
        self.scope[node.value] = over.part()
        self.charge(node, ROUND_NS, over)
        bodies = [self.visit(body) for body in node.args[1:]]
        result = self._gathered(node, over, bodies)
        self.times = outer * (rounds + 2)
        self.charge(node, 7 * COPY_NS * result.weight // 10, over)
        self.times = outer
        if hidden is None:
            del self.scope[node.value]
        else:
            self.scope[node.value] = hidden
        self.charge(node, COPY_NS * result.weight, over)
        return result

    def _gathered(self, node: Node, over: Shape, bodies: list[Shape]) -> Shape:
        """Return the bound of what a comprehension has gathered after its last pass."""
        if node.name == "filter":
            return Shape(over.weight + LIST_WEIGHT, over.length, over.part(), {})
        if node.name == "map":
            return Shape(LIST_WEIGHT + over.length * bodies[-1].weight, over.length, bodies[-1], {})
        return SCALAR


def _cells(shape: Shape) -> int:
    """Return how many values are copied with a value, beyond those that any operation copies."""
    return max(shape.weight - 2, 0)


_VISITS: dict[str, Callable[[Bound, Node], Shape]] = {
    "literal": Bound._literal, "name": Bound._name, "select": Bound._part, "has": Bound._part, "index": Bound._part,
    "call": Bound._call, "method": Bound._call, "binary": Bound._binary, "unary": Bound._unary,
    "choice": Bound._choice, "list": Bound._sequence, "map": Bound._sequence, "macro": Bound._macro,
}  # fmt: skip
