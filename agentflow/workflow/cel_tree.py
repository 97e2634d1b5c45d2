"""The tree of a CEL expression: what costs and types are worked out on before CEL sees a value.

CEL's own parser has the last word on what is valid; this one takes less, never more, and stops long before
an expression is deep enough to overflow CEL's stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from agentflow.workflow.cel_syntax import MACROS, RESERVED, Token, text_value, tokens

MAX_BRACKETS = 32
"""Brackets, and branches of ``a ? b : c``, inside one another. CEL overflows a stack of 512 kB at about 60."""
MAX_DEPTH = 128
"""Operations in one chain, such as ``a + a + …``. CEL overflows a stack of 512 kB at about 500."""

Item = TypeVar("Item")
Kind = Literal[
    "literal", "name", "select", "has", "index", "call", "method", "macro", "binary", "unary", "choice", "list",
    "map",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation. ``name`` is its name, field, sign or bound variable's macro; ``value`` a literal's value.

    Arguments stand in the order of the text: a method's target first, a macro's list first (its bound name is
    ``value``), of a map key and value in turn.
    """

    kind: Kind
    offset: int
    name: str = ""
    args: tuple[Node, ...] = ()
    value: Any = None
    depth: int = 1
    start: int = 0
    end: int = 0
    """Where its text begins and ends; ``offset`` is where a message points, such as the sign of an operation."""

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it."""
        left = [self]
        while left:
            node = left.pop()
            yield node
            left += reversed(node.args)


class UnreadableError(ValueError):
    """What the parser cannot read, ``offset`` characters from the start."""

    def __init__(self, offset: int, message: str) -> None:
        self.offset, self.message = offset, message
        super().__init__(message)


class TooDeepError(UnreadableError):
    """An expression too deep to hand to CEL at all."""


_SIGNS = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
_LEVELS = {sign: level for level, signs in enumerate(_SIGNS, 1) for sign in signs}
"""How closely a sign binds; more binds closer."""
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_AFTER_FIRST = frozenset({"select", "index", "method", "macro", "binary", "choice"})
"""Kinds whose text begins with their first argument."""
_NO_FIELDS = frozenset({"true", "false", "null", "in"})
_CONSTANTS = {"true": True, "false": False, "null": None}


def parse(text: str) -> Node:
    """Return the tree of ``text``.

    Raises:
        TooDeepError: it is nested deeper than CEL may be given.
        UnreadableError: it cannot be read.
    """
    found = list(tokens(text))
    _check_brackets(found)
    parser = _Parser(found, len(text))
    node = parser.expression()
    if parser.text:
        raise parser.unexpected()
    return node


def _check_brackets(found: list[Token]) -> None:
    """Refuse deep nesting, balanced or not, before anything recurses over it."""
    depth = branches = 0
    for token in found:
        if token.kind != "sign":
            continue
        depth += (token.text in "([{") - (token.text in ")]}")
        branches += token.text == "?"
        if max(depth, branches) > MAX_BRACKETS:
            raise TooDeepError(
                token.start,
                f"more than {MAX_BRACKETS} brackets inside one another, or that many ? : in one expression.",
            )


class _Parser:
    def __init__(self, found: list[Token], end: int) -> None:
        self.found, self.end, self.at = found, end, 0
        self.texts = [*(token.text for token in found), ""]

    @property
    def text(self) -> str:
        """What comes next, '' at the end."""
        return self.texts[self.at]

    @property
    def peek(self) -> Token | None:
        return self.found[self.at] if self.at < len(self.found) else None

    @property
    def offset(self) -> int:
        return self.end if self.peek is None else self.peek.start

    def unexpected(self) -> UnreadableError:
        token = self.peek
        if token is None:
            return UnreadableError(self.end, "this is not CEL: it ends too early.")
        return UnreadableError(token.start, f"this cannot be read: unexpected '{token.text[:40]}'.")

    def take(self) -> Token:
        token = self.peek
        if token is None:
            raise self.unexpected()
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        if self.text != text:
            return False
        self.at += 1
        return True

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.unexpected()

    def identifier(self) -> Token:
        token = self.peek
        if token is None or token.kind != "name" or token.text in _NO_FIELDS:
            raise self.unexpected()
        self.at += 1
        return token

    def node(
        self, kind: Kind, offset: int, name: str = "", args: tuple[Node, ...] = (), value: Any = None
    ) -> Node:
        depth = 1
        for arg in args:
            depth = max(depth, 1 + arg.depth)
        if depth > MAX_DEPTH:
            raise TooDeepError(offset, f"a chain of more than {MAX_DEPTH} operations.")
        last = self.found[self.at - 1]
        start = args[0].start if kind in _AFTER_FIRST else offset
        return Node(kind, offset, name, args, value, depth, start, last.start + len(last.text))

    def expression(self) -> Node:
        condition = self.binary()
        offset = self.offset
        if not self.accept("?"):
            return condition
        first = self.binary()
        self.expect(":")
        return self.node("choice", offset, "?", (condition, first, self.expression()))

    def binary(self, least: int = 1) -> Node:
        left = self.unary()
        while (level := _LEVELS.get(self.text, 0)) >= least:
            sign = self.take()
            left = self.node("binary", sign.start, sign.text, (left, self.binary(level + 1)))
        return left

    def unary(self) -> Node:
        signs = []
        while self.text in ("!", "-"):
            signs.append(self.take())
        node = self.member()
        for sign in reversed(signs):
            node = self.node("unary", sign.start, sign.text, (node,))
        return node

    def member(self) -> Node:
        node = self.primary()
        while True:
            if self.accept("."):
                field = self.identifier()
                if self.text == "(":
                    node = self.method(node, field)
                else:
                    node = self.node("select", field.start, field.text, (node,))
            elif self.text == "[":
                offset = self.take().start
                index = self.expression()
                self.expect("]")
                node = self.node("index", offset, "[]", (node, index))
            else:
                return node

    def method(self, target: Node, name: Token) -> Node:
        args = self.sequence("(", self.expression)
        if name.text not in MACROS:
            return self.node("method", name.start, name.text, (target, *args))
        if len(args) not in ((2, 3) if name.text == "map" else (2,)) or args[0].kind != "name":
            raise UnreadableError(
                name.start, f"'{name.text}' takes a name and an expression, as in l.{name.text}(x, …)."
            )
        return self.node("macro", name.start, name.text, (target, *args[1:]), args[0].name)

    def primary(self) -> Node:
        token = self.peek
        if token is None:
            raise self.unexpected()
        if token.kind in ("string", "number"):
            self.at += 1
            return self.node("literal", token.start, token.text, value=_literal(token))
        if token.kind == "name":
            return self.named(self.take())
        if token.text == ".":
            name = self.found[self.at + 1].text[:60] if self.at + 1 < len(self.found) else ""
            raise UnreadableError(
                token.start, f"'.{name}' cannot be read like this; write it as a plain path."
            )
        if token.text == "(":
            self.at += 1
            node = self.expression()
            self.expect(")")
            return replace(node, start=token.start, end=self.found[self.at - 1].start + 1)
        if token.text == "[":
            return self.node("list", token.start, "[]", self.sequence("[", self.expression, trailing=True))
        if token.text == "{":
            entries = self.sequence("{", self.entry, trailing=True)
            return self.node("map", token.start, "{}", tuple(part for entry in entries for part in entry))
        raise self.unexpected()

    def entry(self) -> tuple[Node, Node]:
        key = self.expression()
        self.expect(":")
        return key, self.expression()

    def named(self, token: Token) -> Node:
        if token.text in _CONSTANTS:
            return self.node("literal", token.start, token.text, value=_CONSTANTS[token.text])
        if token.text in RESERVED:
            self.at -= 1
            raise self.unexpected()
        if self.text == "{":
            raise self.unexpected()
        if self.text != "(":
            return self.node("name", token.start, token.text)
        args = self.sequence("(", self.expression)
        if token.text == "has":
            if len(args) != 1 or args[0].kind != "select":
                raise UnreadableError(token.start, "'has' takes one path, as in has(inputs.name).")
            return self.node("has", token.start, args[0].name, args[0].args)
        return self.node("call", token.start, token.text, args)

    def sequence(self, opening: str, item: Callable[[], Item], *, trailing: bool = False) -> tuple[Item, ...]:
        """Read what stands in brackets, separated by commas."""
        self.expect(opening)
        closing = _CLOSING[opening]
        found: list[Item] = []
        while self.text != closing:
            found.append(item())
            if not self.accept(","):
                break
            if self.text == closing and not trailing:
                raise self.unexpected()
        self.expect(closing)
        return tuple(found)


def _literal(token: Token) -> Any:
    if token.kind == "string":
        return text_value(token)
    digits = token.text.rstrip("uU")
    if digits != token.text or digits.startswith("0x"):
        return int(digits, 0) if digits.startswith("0x") else int(digits)
    return float(digits) if any(sign in digits for sign in ".eE") else int(digits)
