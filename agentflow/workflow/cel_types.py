"""The type of an expression's value, from the types of what it reads, and where operands cannot fit.

Only what fails on every value is reported: where anything is unknown, so is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agentflow.core.names import listed, nearest
from agentflow.workflow.cel_reading import Flaw
from agentflow.workflow.cel_tree import Node
from agentflow.workflow.types import (
    ANY,
    BOOL,
    DOUBLE,
    INT,
    NULL,
    NUMBER,
    STRING,
    Type,
    described,
    either,
    list_of,
    map_of,
)

_NUMBERS = frozenset({"int", "double", "number"})
_RESULTS = {"double": DOUBLE, "int": INT, "size": INT, "string": STRING}
_PLAIN = _NUMBERS | {"bool", "string", "null"}
_ON_TEXT = frozenset({"contains", "startsWith", "endsWith", "matches"})
_ORDERED = frozenset({"<", "<=", ">", ">="})


@dataclass(slots=True)
class Typing:
    """Works out one expression's type. ``scope`` holds the types of its roots; a root without one is anything."""

    text: str
    scope: dict[str, Type]
    flaws: list[Flaw] = field(default_factory=list)
    asked: frozenset[str] = frozenset()
    """Names that the expression asks for with ``has(…)`` before it reads them."""

    @classmethod
    def of(cls, text: str, tree: Node, types: Mapping[str, Type]) -> tuple[Type, tuple[Flaw, ...]]:
        """Return the type of an expression's value, and what cannot fit in it; ``text`` is how it is written."""
        typing = cls(
            text, dict(types), asked=frozenset(node.name for node in tree.walk() if node.kind == "has")
        )
        found = typing.visit(tree)
        return found, tuple(sorted(typing.flaws, key=lambda flaw: flaw.offset))

    def visit(self, node: Node) -> Type:
        """Return the type of a node's value."""
        return _VISITS[node.kind](self, node)

    def _flaw(self, node: Node, message: str) -> Type:
        self.flaws.append(Flaw(node.offset, message))
        return ANY

    def _need(self, node: Node, found: Type, kinds: frozenset[str], what: str) -> None:
        if found.kind != "any" and found.kind not in kinds:
            self._flaw(node, f"{what}; this is {found}.")

    def _literal(self, node: Node) -> Type:
        if node.name[-1:] in "uU" and isinstance(node.value, int) and not isinstance(node.value, bool):
            return ANY
        return NULL if node.value is None else _LITERALS.get(type(node.value), ANY)

    def _name(self, node: Node) -> Type:
        return self.scope.get(node.name, ANY)

    def _has(self, node: Node) -> Type:
        self.visit(node.args[0])
        return BOOL

    def _select(self, node: Node) -> Type:
        return self._field(node, self.visit(node.args[0]), node.name)

    def _field(self, node: Node, whole: Type, name: str) -> Type:
        if whole.kind in ("any", "null"):
            return ANY
        if whole.kind != "map":
            return self._flaw(node, self._no_field(node, whole, name))
        if name in whole.fields:
            return whole.fields[name]
        if whole.value is not None or name in self.asked:
            return whole.value or ANY
        return self._flaw(node, self._no_field(node, whole, name))

    def _no_field(self, node: Node, whole: Type, name: str) -> str:
        """Say what lies where a field is asked for, and what could be asked for instead."""
        target = node.args[0] if node.args else node
        where = self.text[target.start : target.end]
        if whole.kind == "map":
            return (
                f"{where} has no '{name[:60]}'.{nearest(name, whole.fields)} It has: {listed(whole.fields)}."
            )
        hint = f" Write {where}[0].{name}, or {where}.map(x, x.{name})." if whole.kind == "list" else ""
        return f"{where} is {described(whole)}; it has no '{name[:60]}'.{hint}"

    def _index(self, node: Node) -> Type:
        whole, key = self.visit(node.args[0]), self.visit(node.args[1])
        if whole.kind == "map":
            value = node.args[1].value
            if isinstance(value, str):
                return self._field(node, whole, value)
            return ANY if whole.value is None else either([*whole.fields.values(), whole.value])
        if whole.kind == "list":
            self._need(node.args[1], key, frozenset({"int", "number"}), "a list is indexed by an integer")
            return whole.item or ANY
        return ANY if whole.kind in ("any", "null") else self._flaw(node, self._no_items(node, whole))

    def _no_items(self, node: Node, whole: Type) -> str:
        target = node.args[0]
        return f"{self.text[target.start : target.end]} is {described(whole)}; it has no items."

    def _call(self, node: Node) -> Type:
        found = [self.visit(arg) for arg in node.args]
        if node.name == "size" and found:
            self._need(
                node.args[0],
                found[0],
                frozenset({"string", "list", "map"}),
                "'size' takes text, a list or a map",
            )
        elif node.name in ("int", "double", "string") and found:
            self._need(node.args[0], found[0], _PLAIN, f"'{node.name}' takes text or a number")
        elif node.name in _ON_TEXT and node.kind == "method":
            for arg, each in zip(node.args, found, strict=True):
                self._need(arg, each, frozenset({"string"}), f"'{node.name}' takes text")
            return BOOL
        return _RESULTS.get(node.name, INT if node.name.startswith("get") else ANY)

    def _macro(self, node: Node) -> Type:
        over = self.visit(node.args[0])
        self._need(node.args[0], over, frozenset({"list", "map", "null"}), f"'{node.name}' goes over a list")
        item = STRING if over.kind == "map" else over.item or ANY
        hidden = self.scope.get(node.value)
        self.scope[node.value] = item
        bodies = [self.visit(body) for body in node.args[1:]]
        if hidden is None:
            del self.scope[node.value]
        else:
            self.scope[node.value] = hidden
        tested = node.args[1:] if node.name != "map" else node.args[1:-1]
        for body, found in zip(tested, bodies, strict=False):
            self._need(body, found, frozenset({"bool"}), f"'{node.name}' needs a condition")
        if node.name == "map":
            return list_of(bodies[-1])
        return list_of(item) if node.name == "filter" else BOOL

    def _binary(self, node: Node) -> Type:
        left, right = [self.visit(arg) for arg in node.args]
        if node.name in ("&&", "||"):
            for arg, found in zip(node.args, (left, right), strict=True):
                self._need(arg, found, frozenset({"bool"}), f"'{node.name}' joins conditions")
            return BOOL
        if node.name in ("==", "!="):
            return BOOL
        if node.name == "in":
            self._need(
                node.args[1], right, frozenset({"list", "map", "null"}), "'in' looks into a list or a map"
            )
            return BOOL
        if node.name in _ORDERED:
            result = BOOL if _comparable(left, right) else None
        else:
            result = _arithmetic(node.name, left, right)
        if result is None:
            advice = "convert with double(x), int(x) or string(x), or write 2.0 for 2"
            return self._flaw(
                node, f"the types do not fit: {_word(left)} {node.name} {_word(right)}; {advice}."
            )
        return result

    def _unary(self, node: Node) -> Type:
        found = self.visit(node.args[0])
        if node.name == "!":
            self._need(node.args[0], found, frozenset({"bool"}), "'!' turns a condition round")
            return BOOL
        self._need(node.args[0], found, _NUMBERS | {"bool"}, "'-' takes a number")
        return found.sure() if found.kind in _NUMBERS else ANY

    def _choice(self, node: Node) -> Type:
        condition, one, other = [self.visit(arg) for arg in node.args]
        self._need(node.args[0], condition, frozenset({"bool"}), "'?' needs a condition before it")
        return either([one, other])

    def _list(self, node: Node) -> Type:
        items = [self.visit(arg) for arg in node.args]
        return list_of(either(items)) if items else list_of()

    def _map(self, node: Node) -> Type:
        found = [self.visit(arg) for arg in node.args]
        keys = [key.value for key in node.args[::2]]
        if not all(isinstance(key, str) for key in keys):
            return map_of()
        return map_of(dict(zip(keys, found[1::2], strict=True)))


def _arithmetic(sign: str, left: Type, right: Type) -> Type | None:
    """Return the type of a calculation, or None where no values fit."""
    kinds = {left.kind, right.kind}
    if kinds & {"any", "null"}:
        return ANY
    if kinds <= _NUMBERS:
        if kinds == {"int", "double"} or (sign == "%" and "double" in kinds):
            return None
        exact = kinds - {"number"}
        return {"int": INT, "double": DOUBLE}[exact.pop()] if exact else NUMBER
    if sign == "+" and kinds == {"string"}:
        return STRING
    if sign == "+" and kinds == {"list"}:
        return list_of(either([left.item or ANY, right.item or ANY]))
    return ANY if sign == "+" and kinds == {"list", "map"} else None


def _comparable(left: Type, right: Type) -> bool:
    kinds = {left.kind, right.kind}
    return bool(kinds & {"any", "null"}) or kinds <= _NUMBERS or kinds in ({"string"}, {"bool"})


def _word(found: Type) -> str:
    """Return a type as CEL calls it, which tells integers from other numbers."""
    return {"double": "float", "number": "number"}.get(found.kind, found.kind)


_LITERALS = {bool: BOOL, int: INT, float: DOUBLE, str: STRING}
_VISITS: dict[str, Callable[[Typing, Node], Type]] = {
    "literal": Typing._literal, "name": Typing._name, "select": Typing._select, "has": Typing._has,
    "index": Typing._index, "call": Typing._call, "method": Typing._call, "binary": Typing._binary,
    "unary": Typing._unary, "choice": Typing._choice, "list": Typing._list, "map": Typing._map,
    "macro": Typing._macro,
}  # fmt: skip
