"""What is known of a value's type before a run: a small tree that expressions are checked against.

`ANY` wins everywhere: whatever touches it is not checked, so that a check never raises a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal

Kind = Literal["any", "null", "bool", "int", "double", "number", "string", "list", "map"]
"""``double`` is certainly a float, ``int`` certainly whole; ``number`` is one of the two."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a value is held to beside its kind. Lengths count characters of text, items of a list."""

    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    enum: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class Type:
    """The type of a JSON value. Made by the constants and functions below.

    ``nullable``: it may also be null, as the output of a step that was skipped. A map is closed when
    ``value`` is None: then it has no keys but ``fields``; else ``value`` is the type of all other keys.

    Two types are equal when their values are of the same form; what follows ``nullable`` is for people and for
    the check of a value: the type's ``name``, its ``limits``, the fields that may be left out (``optional``),
    what is taken for them (``defaults``), and whether a value with further keys is refused (``strict``).
    """

    kind: Kind = "any"
    item: Type | None = None
    fields: Mapping[str, Type] = field(default_factory=dict)
    value: Type | None = None
    nullable: bool = False
    name: str = field(default="", compare=False)
    limits: Limits | None = field(default=None, compare=False)
    optional: frozenset[str] = field(default=frozenset(), compare=False)
    defaults: Mapping[str, Any] = field(default_factory=dict, compare=False)
    strict: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        words = {"any": "anything", "null": "null", "bool": "a boolean", "int": "an integer"}
        words |= {
            "double": "a number",
            "number": "a number",
            "string": "text",
            "list": "a list",
            "map": "a map",
        }
        return words[self.kind]

    def or_null(self) -> Type:
        """Return the type, also allowing null."""
        return self if self.kind in ("any", "null") else replace(self, nullable=True)

    def sure(self) -> Type:
        """Return the type of the value when it is not null."""
        return replace(self, nullable=False) if self.nullable else self


ANY = Type()
NULL = Type("null")
BOOL = Type("bool")
INT = Type("int")
DOUBLE = Type("double")
NUMBER = Type("number")
STRING = Type("string")


def list_of(item: Type = ANY) -> Type:
    """Return the type of a list."""
    return Type("list", item=item)


def map_of(fields: Mapping[str, Type] | None = None, value: Type | None = None) -> Type:
    """Return the type of a map: closed with ``fields`` alone; other keys hold ``value``; of neither, any map."""
    if fields is None:
        return Type("map", value=ANY if value is None else value)
    return Type("map", fields=dict(fields), value=value)


def either(types: Iterable[Type]) -> Type:
    """Return the type of a value that is of one of ``types``."""
    return reduce(_joined, types, None) or ANY


def _joined(one: Type | None, other: Type) -> Type:
    if one is None or one == other:
        return other
    if "any" in (one.kind, other.kind):
        return ANY
    if one.kind == "null":
        return other.or_null()
    if other.kind == "null":
        return one.or_null()
    joined = _same_kind(one.sure(), other.sure())
    return joined.or_null() if one.nullable or other.nullable else joined


def _same_kind(one: Type, other: Type) -> Type:
    if one == other:
        return one
    numbers = {"int", "double", "number"}
    if one.kind in numbers and other.kind in numbers:
        return NUMBER
    if one.kind != other.kind:
        return ANY
    if one.kind == "list":
        return list_of(_joined(one.item or ANY, other.item or ANY))
    shared = {
        name: _joined(one.fields[name], other.fields[name]) for name in one.fields if name in other.fields
    }
    return map_of(shared, ANY)


_WANTED: dict[str, frozenset[str]] = {
    "a condition": frozenset({"bool"}),
    "a number": frozenset({"int", "double", "number"}),
    "a list": frozenset({"list"}),
    "text": frozenset({"string"}),
}


def misfit(found: Type, wanted: str) -> str:
    """Return what is wrong where a place wants ``a condition``, ``a number``, ``a list`` or ``text``, or ''."""
    if found.kind == "any" or found.kind in _WANTED[wanted]:
        return ""
    return f"this gives {found}; allowed: {wanted}."


_WORDS = {
    "any": "any value", "null": "nothing (null)", "bool": "true or false", "int": "a whole number",
    "double": "a number", "number": "a number", "string": "text", "list": "a list", "map": "a mapping",
}  # fmt: skip
_SEVERAL = {
    "null": "nulls", "bool": "booleans", "int": "whole numbers", "double": "numbers", "number": "numbers",
    "string": "texts", "list": "lists", "map": "mappings",
}  # fmt: skip


def described(declared: Type) -> str:
    """Return a type in words: by its name where it has one."""
    if declared.name:
        return f"{_WORDS[declared.kind]} ({declared.name})"
    if declared.kind == "list" and declared.item and declared.item.kind != "any":
        return f"a list of {_SEVERAL[declared.item.kind]}" + (
            f" ({name})" if (name := declared.item.name) else ""
        )
    return _WORDS[declared.kind]
