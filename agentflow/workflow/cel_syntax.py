"""The tokens of CEL, and its words: reserved names, functions, methods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

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

_ESCAPE = r"\\(?:[abfnrtv\"'\\?`]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7][0-7])"
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n\f]+|//[^\n]*)"
    r"|(?P<string>[bB]?[rR](?:\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n\r]*\"|'[^'\n\r]*')"
    rf"|[bB]?(?:\"\"\"(?:{_ESCAPE}|[^\\])*?\"\"\"|'''(?:{_ESCAPE}|[^\\])*?'''"
    rf"|\"(?:{_ESCAPE}|[^\"\\\n\r])*\"|'(?:{_ESCAPE}|[^'\\\n\r])*'))"
    r"|(?P<number>0x[0-9a-fA-F]+[uU]?|[0-9]+[uU]|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||.)",
    re.DOTALL,
)
_ESCAPED = re.compile(_ESCAPE)
_PLAIN_ESCAPES = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


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


def tokens(text: str, start: int = 0, end: int | None = None) -> Iterator[Token]:
    """Yield the tokens of ``text[start:end]``; offsets count from the start of ``text``."""
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        if match.lastgroup and match.lastgroup != "space":
            yield Token(match.lastgroup, match[0], match.start())


def text_value(token: Token) -> str | bytes:
    """Return what a text literal stands for."""
    letters = token.text[: re.search("['\"]", token.text).start()].lower()  # type: ignore[union-attr]
    quoted = token.text[len(letters) :]
    width = 3 if quoted[:3] in ('"""', "'''") and len(quoted) >= 6 else 1
    value = quoted[width:-width]
    if "r" not in letters:
        value = _ESCAPED.sub(lambda match: _unescaped(match[0][1:]), value)
    return value.encode("utf-8", "replace") if "b" in letters else value


def _unescaped(code: str) -> str:
    if code[0] in "xXuU":
        point = int(code[1:], 16)
        return chr(point) if point < 0x110000 else "\ufffd"
    return chr(int(code, 8)) if code[0] in "0123" else _PLAIN_ESCAPES.get(code, code)


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
