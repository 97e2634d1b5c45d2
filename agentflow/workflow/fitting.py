"""Types against types, before a run: what lies at a path, and whether one may be passed where another is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agentflow.core.errors import listed, nearest
from agentflow.workflow.cel_syntax import Token, tokens
from agentflow.workflow.checked_values import described
from agentflow.workflow.types import ANY, BOOL, DOUBLE, INT, NULL, STRING, Type, either, list_of, map_of

_MAX_INDEX = 40
"""Tokens of an index at most; a longer one is not followed."""
_END = Token("end", "", 0)
_NUMBERS = ("int", "double", "number")


@dataclass(frozen=True, slots=True)
class Index:
    """A part of a path that is no constant name: ``[0]``, ``[i]``; ``text`` is how it is written."""

    text: str


Path = tuple[str | Index, ...]


class _Ahead:
    """The tokens of a text from an offset on, read only as far as they are asked for."""

    def __init__(self, text: str, offset: int) -> None:
        self._stream = tokens(text, offset)
        self._found: list[Token] = []

    def __getitem__(self, index: int) -> Token:
        while len(self._found) <= index:
            self._found.append(next(self._stream, _END))
        return self._found[index]

    def closing(self, at: int) -> int:
        """Return where the bracket that opens at ``at`` is closed with something short inside, or 0."""
        depth = 0
        for index in range(at, at + _MAX_INDEX):
            depth += {"[": 1, "]": -1}.get(self[index].text, 0)
            if depth == 0:
                return index if index > at + 1 else 0
        return 0


@lru_cache(maxsize=4096)
def path_at(text: str, offset: int) -> tuple[Path, int]:
    """Return the path that an expression reads at ``offset``, indices included, and where it ends."""
    ahead = _Ahead(text, offset)
    path: list[str | Index] = [ahead[0].text]
    at = 1
    while True:
        if ahead[at].text == "." and ahead[at + 1].kind == "name" and ahead[at + 2].text != "(":
            path.append(ahead[at + 1].text)
            at += 2
        elif ahead[at].text == "[" and (close := ahead.closing(at)):
            inner = text[ahead[at + 1].start : ahead[close].start].strip()
            path.append(inner[1:-1] if inner[0] in "'\"" and close == at + 2 else Index(f"[{inner}]"))
            at = close + 1
        else:
            last = ahead[at - 1]
            return tuple(path), last.start + len(last.text)


def follow(start: Type, path: Path, done: str) -> tuple[Type, str]:
    """Return the type of what lies at ``path`` below ``start``, and what is wrong with the path or an empty text.

    ``done`` is how the way to ``start`` is written.
    """
    here = start
    for part in path:
        found, message = _member(here, part, done)
        if message or found.kind == "any":
            return ANY, message
        here = found
        done += part.text if isinstance(part, Index) else f".{part}"
    return here, ""


def _member(here: Type, part: str | Index, done: str) -> tuple[Type, str]:
    if here.kind == "any":
        return ANY, ""
    if isinstance(part, Index):
        return _indexed(here, done)
    if here.kind == "list":
        return (
            ANY,
            f"{done} is a list; it has no '{part}'. Write {done}[0].{part}, or {done}.map(x, x.{part}).",
        )
    if here.kind != "map":
        return ANY, f"{done} is {described(here)}; it has no '{part}'."
    found = here.fields.get(part, here.value)
    if found is None:
        return ANY, f"{done} has no '{part[:60]}'.{nearest(part, here.fields)} It has: {listed(here.fields)}."
    return found, ""


def _indexed(here: Type, done: str) -> tuple[Type, str]:
    if here.kind == "list":
        return here.item or ANY, ""
    if here.kind == "map":
        return here.value or ANY, ""
    return ANY, f"{done} is {described(here)}; it has no items."


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a type does not fit: where inside it, what is wanted there, and what is given."""

    path: str
    wanted: str
    given: str

    @property
    def at(self) -> str:
        """The place inside the value, as a message puts it behind the value's name."""
        return f", at {self.path.lstrip('.')}," if self.path else ""


def misfit(given: Type, wanted: Type, path: str = "") -> Misfit | None:
    """Return why ``given`` can never pass for ``wanted``; None where it fits, or where that is not known."""
    if "any" in (given.kind, wanted.kind):
        return None
    if given.kind == "null":
        return (
            None
            if wanted.nullable or wanted.kind == "null"
            else Misfit(path, described(wanted), "nothing (null)")
        )
    if given.kind in _NUMBERS and wanted.kind in _NUMBERS:
        certain = given.kind == "double" and wanted.kind == "int"
        return Misfit(path, described(wanted), described(given)) if certain else None
    if given.kind != wanted.kind:
        return Misfit(path, described(wanted), described(given))
    if given.kind == "list":
        return misfit(given.item or ANY, wanted.item or ANY, f"{path}[…]")
    return _map_misfit(given, wanted, path) if given.kind == "map" else None


def _map_misfit(given: Type, wanted: Type, path: str) -> Misfit | None:
    closed = given.value is None
    for name, inner in wanted.fields.items():
        found = given.fields.get(name, given.value)
        if found is None and closed and name not in wanted.optional:
            return Misfit(
                path, f"{described(wanted)} with '{name}'", f"a mapping with {listed(given.fields)}"
            )
        below = misfit(found or ANY, inner, f"{path}.{name}")
        if below is not None:
            return below
    if wanted.value is not None:
        others = (name for name in given.fields if name not in wanted.fields)
        return next(_misfits(given.fields, others, wanted.value, path), None)
    odd = next((name for name in given.fields if name not in wanted.fields), None) if wanted.strict else None
    if odd is None:
        return None
    return Misfit(path, f"{described(wanted)} with {listed(wanted.fields)} only", f"one with '{odd}'")


def _misfits(fields: Mapping[str, Type], names: Iterator[str], wanted: Type, path: str) -> Iterator[Misfit]:
    for name in names:
        found = misfit(fields[name], wanted, f"{path}.{name}")
        if found is not None:
            yield found


def type_of_value(value: Any) -> Type:
    """Return the type of a plain JSON value."""
    match value:
        case None:
            return NULL
        case bool():
            return BOOL
        case int():
            return INT
        case float():
            return DOUBLE
        case str():
            return STRING
        case list() | tuple():
            return list_of(either(type_of_value(item) for item in value))
        case Mapping():
            return map_of({str(name): type_of_value(item) for name, item in value.items()})
    return ANY
