"""What can be known about a CEL expression before it runs: names, paths, functions, nesting.

CEL's own parser decides what is valid; this reads tokens only, for positions and static caps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_LENGTH = 2000
"""Characters that one expression may have."""

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)
"""Words that CEL refuses as names."""

FUNCTIONS = frozenset(
    ["bytes", "double", "duration", "dyn", "has", "int", "size", "string", "timestamp", "type", "uint"]
)
MACROS = frozenset(["all", "exists", "exists_one", "existsOne", "filter", "map"])
METHODS = MACROS | frozenset(
    [
        "contains",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "matches",
        "size",
        "startsWith",
    ]
)

_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    r"|(?P<string>[bB]?[rR][bB]?(?:\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n]*\"|'[^'\n]*')"
    r"|[bB]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))"
    r"|(?P<number>0x[0-9a-fA-F]+u?|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?[uU]?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``kind`` is string, number, name or sign."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A path that an expression reads, such as ``("steps", "plan", "output")``, and where it stands in it."""

    path: tuple[str, ...]
    offset: int

    @property
    def root(self) -> str:
        """The first name."""
        return self.path[0]


@dataclass(slots=True)
class Reading:
    """What an expression reads and calls. ``nesting`` counts comprehensions inside one another."""

    references: list[Reference] = field(default_factory=list)
    functions: list[tuple[str, int]] = field(default_factory=list)
    methods: list[tuple[str, int]] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)
    nesting: int = 0


def tokens(text: str, start: int = 0, end: int | None = None) -> Iterator[Token]:
    """Yield the tokens of ``text[start:end]``; offsets count from the start of ``text``."""
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        if match.lastgroup and match.lastgroup != "space":
            yield Token(match.lastgroup, match[0], match.start())


def hole_end(text: str, start: int) -> int:
    """Return where the ``}}`` stands that closes an expression begun before ``start``, or -1."""
    depth = 0
    for token in tokens(text, start, start + MAX_LENGTH * 2):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0:
                return token.start if text.startswith("}}", token.start) else -1
            depth -= 1
    return -1


def read(text: str) -> Reading:
    """Collect what ``text`` refers to."""
    return _Reader(list(tokens(text))).run()


class _Reader:
    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.reading = Reading()
        self.open: list[str | None] = []
        """For each open bracket, the name that a comprehension binds in it."""

    def run(self) -> Reading:
        for index, token in enumerate(self.tokens):
            if token.kind == "name":
                self._name(index, token)
            elif token.kind == "sign" and token.text in "([{":
                self.open.append(self._binds(index))
                depth = sum(name is not None for name in self.open)
                self.reading.nesting = max(self.reading.nesting, depth)
            elif token.kind == "sign" and token.text in ")]}" and self.open:
                self.open.pop()
        return self.reading

    def _text(self, index: int) -> str:
        if not 0 <= index < len(self.tokens) or self.tokens[index].kind == "string":
            return ""
        return self.tokens[index].text

    def _binds(self, index: int) -> str | None:
        """Return the name that the bracket at ``index`` binds when it opens ``list.map(name, …)``."""
        macro = self._text(index - 1) in MACROS and self._text(index - 2) == "."
        if not macro or self._text(index + 2) != "," or self.tokens[index + 1].kind != "name":
            return None
        self.reading.bound.add(self._text(index + 1))
        return self._text(index + 1)

    def _name(self, index: int, token: Token) -> None:
        called = self._text(index + 1) == "("
        if self._text(index - 1) == ".":
            if called:
                self.reading.methods.append((token.text, token.start))
        elif token.text in RESERVED:
            return
        elif called:
            self.reading.functions.append((token.text, token.start))
        elif token.text not in self.open:
            self.reading.references.append(Reference(self._path(index), token.start))

    def _path(self, index: int) -> tuple[str, ...]:
        """Return the constant path that starts at ``index``: ``.name`` and ``["name"]``."""
        path = [self.tokens[index].text]
        index += 1
        while True:
            if self._text(index) == "." and self._is_member(index + 1):
                path.append(self._text(index + 1))
                index += 2
            elif self._text(index) == "[" and self._text(index + 2) == "]" and self._is_constant(index + 1):
                path.append(self.tokens[index + 1].text[1:-1])
                index += 3
            else:
                return tuple(path)

    def _is_member(self, index: int) -> bool:
        return index < len(self.tokens) and self.tokens[index].kind == "name" and self._text(index + 1) != "("

    def _is_constant(self, index: int) -> bool:
        token = self.tokens[index]
        plain = token.kind == "string" and token.text[0] in "'\"" and "\\" not in token.text
        return plain and not token.text.startswith(('"""', "'''"))
