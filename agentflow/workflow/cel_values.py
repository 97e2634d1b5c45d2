"""Values on their way into an expression and out of it: found by path, made plain, and measured.

Only what a path names is touched; a mapping or sequence that loads when it is read is read there and no further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, NoReturn

MAX_DEPTH = 64
"""Lists and maps inside one another."""
PIECE = 32
"""Characters of a text that weigh as much as one value."""
LIST_WEIGHT, MAP_WEIGHT = 2, 3
"""What a list or a map weighs without what is in it."""
_CONTAINER = 6
"""Values that take as long to copy as a list or a map without what is in it."""
_FIELDS = 16
"""Keys of a map that are told apart; of a larger one only the largest value counts."""
_JOINS = 4
"""Levels of a value that are told apart."""

_SCALARS = frozenset({int, float, bool, type(None)})
_FLAT, _TEXT = frozenset({int, bool, type(None), str}), frozenset({str})
_CONVERSION_NS = {int: 250, float: 1200, bool: 150, type(None): 100, str: 2000, list: 2000, dict: 2300}
_LEAST_NS = min(_CONVERSION_NS.values())
_TAKE_NS = 700
"""To measure one value here, before CEL converts it in the time above."""
_SHALLOW = 3
"""Levels up to which a list or a map is measured in the time of two values; further in, bounds of bounds are joined."""
_PIECE_NS, _KEY_NS, _OTHER_NS = 60, 1400, 5_000


class UnfitError(ValueError):
    """A value that an expression may not take in or give: what was found, and what is allowed."""

    def __init__(self, found: str, allowed: str) -> None:
        self.found, self.allowed = found, allowed
        super().__init__(found)


class EvaluationError(UnfitError):
    """A part without a value, such as a path that leads nowhere; only what comes to read it fails."""


class TooMuchError(UnfitError):
    """More than an evaluation may take in or work."""


class Shape(NamedTuple):
    """An upper bound of a value's size: ``weight`` counts all values in it, ``length`` items or characters.

    ``item`` bounds each item, key and value in it, ``fields`` the values of known keys. Without them, every
    part is bounded by the whole.
    """

    weight: int = 1
    length: int = 0
    item: Shape | None = None
    fields: Mapping[str, Shape] | None = None

    def part(self, name: str | None = None) -> Shape:
        """Return the bound of a field, or of any part."""
        if name is not None and self.fields is not None:
            return self.fields.get(name, SCALAR)
        return Shape(self.weight, self.length) if self.item is None else self.item


SCALAR = Shape()
_EMPTY = Shape(MAP_WEIGHT, 0, SCALAR, {})


@cache
def _text_of(bits: int) -> Shape:
    return Shape(2 + (1 << bits) // PIECE, 1 << bits)


def text_shape(characters: int) -> Shape:
    """Return the bound of a text, rounded up to the next power of two, so that few bounds are told apart."""
    return _text_of(max(characters - 1, 0).bit_length()) if characters > 1 else _text_of(0)


def join(one: Shape, other: Shape, levels: int = _JOINS) -> Shape:
    """Return the bound of a value that is one or the other."""
    if one is other or other is SCALAR or one == other:
        return one
    if one is SCALAR:
        return other
    weight, length = max(one.weight, other.weight), max(one.length, other.length)
    if levels == 0 or (one.item is None and other.item is None):
        return Shape(weight, length)
    item = join(one.part(), other.part(), levels - 1)
    fields = None
    if one.fields is not None and other.fields is not None:
        names = one.fields.keys() | other.fields.keys()
        if len(names) <= _FIELDS:
            fields = {name: join(one.part(name), other.part(name), levels - 1) for name in names}
    return Shape(weight, length, item, fields)


@dataclass(slots=True)
class Intake:
    """What is taken into one evaluation: makes values plain, and adds up how long CEL takes to convert them."""

    limit_ns: int
    ns: int = 0
    values: int = 0

    def take(self, value: Any, depth: int = 0) -> tuple[Any, Shape]:
        """Return a plain JSON value of the same content, and its bound.

        Raises:
            UnfitError: it is too deep, or more than an expression may take in.
        """
        kind = type(value)
        if kind in _SCALARS:
            self._add(_TAKE_NS + _CONVERSION_NS[kind])
            return value, SCALAR
        if kind is str or isinstance(value, str):
            pieces = len(value) // PIECE
            if pieces * _PIECE_NS > self.limit_ns:
                longest = PIECE * self.limit_ns // _PIECE_NS
                raise TooMuchError(f"a text of {len(value)} characters", f"at most {longest}")
            self._add(_TAKE_NS + _CONVERSION_NS[str] + _PIECE_NS * pieces)
            return value, text_shape(len(value))
        if depth == MAX_DEPTH:
            raise UnfitError(f"values nested deeper than {MAX_DEPTH}", f"at most {MAX_DEPTH} levels")
        if kind is dict or (kind is not list and is_map(value)):
            return self._take_map(value, depth)
        if kind is list or is_list(value):
            return self._take_list(value, depth)
        self._add(_OTHER_NS)
        return value, SCALAR

    def _add(self, ns: int, values: int = 1) -> None:
        self.ns += ns
        self.values += values
        if self.ns > self.limit_ns:
            raise TooMuchError(
                f"more than {self.values - values} values to hand over",
                f"about {self.values * self.limit_ns // self.ns} of their kind; name only the parts that are needed",
            )

    def _take_list(self, value: Sequence[Any], depth: int) -> tuple[Any, Shape]:
        self._add((2 if depth < _SHALLOW else 6) * _TAKE_NS + _CONVERSION_NS[list])
        size = len(value)
        if not size:
            return [], _EMPTY
        if size * _LEAST_NS > self.limit_ns:
            raise TooMuchError(f"a list of {size} items", f"at most {self.limit_ns // _LEAST_NS}")
        kinds = set(map(type, value)) if isinstance(value, list | tuple) else {object}
        if kinds <= _SCALARS:
            self._add(size * max((_CONVERSION_NS[kind] for kind in kinds), default=0), size)
            return list(value), Shape(LIST_WEIGHT + size, size, SCALAR, {})
        taken: list[Any] = []
        weight, item = LIST_WEIGHT, SCALAR
        for each in value:
            plain, shape = self.take(each, depth + 1)
            item = join(item, shape) if taken else shape
            taken.append(plain)
            weight += shape.weight
        return taken, Shape(weight, size, item, {})

    def _take_map(self, value: Mapping[Any, Any], depth: int) -> tuple[Any, Shape]:
        self._add((2 if depth < _SHALLOW else 6) * _TAKE_NS + _CONVERSION_NS[dict])
        size = len(value)
        if not size:
            return {}, _EMPTY
        taken: dict[Any, Any] = {}
        fields: dict[str, Shape] = {}
        weight, item, longest, ns = MAP_WEIGHT, SCALAR, 0, 0
        for key, each in value.items():  # without a call for a plain value: there may be thousands
            kind = type(each)
            if kind in _SCALARS:
                plain, shape = each, SCALAR
                ns += _TAKE_NS + _CONVERSION_NS[kind]
            else:
                plain, shape = self.take(each, depth + 1)
            if shape is not item:
                item = join(item, shape) if taken else shape
            pieces = 2 + 2 * len(key) // PIECE if isinstance(key, str) else 2
            longest = pieces if pieces > longest else longest
            ns += _KEY_NS + _PIECE_NS * pieces
            weight += shape.weight + pieces
            taken[key] = plain
            if size <= _FIELDS:
                fields[str(key)] = shape
            if self.ns + ns > self.limit_ns:
                break
        self._add(ns, len(taken))
        keys = text_shape(PIECE * longest // 2)
        return taken, Shape(weight, size, join(item, keys), fields if size <= _FIELDS else None)


def _refused(value: Any) -> NoReturn:
    if isinstance(value, float):
        raise UnfitError(f"the number {value}", "a finite number")
    raise UnfitError(f"a {type(value).__name__}", "text, a number, true, false, null, a list or a map")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    raise UnfitError(f"the map key {key!r}", "map keys that are text")


def is_map(value: Any) -> bool:
    """Whether a value is a map, be it one that loads when it is read."""
    return isinstance(value, Mapping)


def is_list(value: Any) -> bool:
    """Whether a value is a list, be it one that loads when it is read."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _is_flat(values: list[Any]) -> bool:
    """Whether JSON can hold every item as it is, told without a call for each."""
    kinds = set(map(type, values))
    return kinds <= _FLAT or (kinds == {float} and all(map(math.isfinite, values)))


class Copier:
    """Copies a value as it is, without CEL, and counts what is in it."""

    def __init__(self, limit: int) -> None:
        self.limit, self.values = limit, 0

    def copy(self, value: Any, depth: int = 0) -> Any:
        """Return a plain JSON value of the same content.

        Raises:
            UnfitError: it is deeper or holds more than an expression may give, or JSON cannot hold it.
        """
        kind = type(value)
        if kind is str or kind in _SCALARS:
            return value if kind is not float or math.isfinite(value) else _refused(value)
        if depth == MAX_DEPTH:
            raise UnfitError(f"values nested deeper than {MAX_DEPTH}", f"at most {MAX_DEPTH} levels")
        if kind is dict or (kind is not list and is_map(value)):
            self._count(_CONTAINER + len(value))
            if (
                kind is dict
                and _FLAT.issuperset(map(type, value.values()))
                and _TEXT.issuperset(map(type, value))
            ):
                return value.copy()
            self._count(len(value))
            return {
                key if type(key) is str else _key(key): self.copy(item, depth + 1)
                for key, item in value.items()
            }
        if kind is list or is_list(value):
            self._count(_CONTAINER + len(value))
            if kind is list and _is_flat(value):
                return value.copy()
            return [self.copy(item, depth + 1) for item in value]
        return value if isinstance(value, str) else _refused(value)

    def _count(self, values: int) -> None:
        self.values += values
        if self.values > self.limit:
            raise UnfitError(
                f"more than {self.limit} values", "as many, keys counted; name only the parts that are needed"
            )


NO_KEY = "a key that is there; test it with has(…) first"
NO_ITEM = "an index within the list; test size(…) first"
NO_OPERATION = (
    "operands that the operation does not take",
    "operands of one type; convert with double(x), int(x)",
)


def follow(scope: Mapping[str, Any], parts: tuple[str | int, ...]) -> Any:
    """Return what lies at a path.

    Raises:
        EvaluationError: nothing does.
    """
    value: Any = scope
    for part in parts:
        if type(value) is dict or isinstance(value, Mapping):
            try:
                value = value[part]
            except KeyError:
                raise _no_key(scope, value, part) from None
        else:
            value = _item(value, part)
    return value


def _no_key(scope: Mapping[str, Any], value: Any, part: str | int) -> EvaluationError:
    if value is scope:
        return EvaluationError(f"Undefined variable or function: '{part}'", "what CEL can evaluate")
    return EvaluationError(f"no key {str(part)!r}", NO_KEY)


def _item(value: Any, part: str | int) -> Any:
    if isinstance(part, str) or isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise EvaluationError(*NO_OPERATION)
    if part >= len(value):
        raise EvaluationError(f"index out of bounds: {part}", NO_ITEM)
    return value[part]


def type_name(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {
        str: "text",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "a list",
        dict: "a map",
    }
    return "nothing (null)" if value is None else names.get(type(value), type(value).__name__)
