"""Types against types, before a run: whether one may be passed where another is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentflow.core.names import listed
from agentflow.workflow.types import (
    ANY,
    BOOL,
    DOUBLE,
    INT,
    NULL,
    STRING,
    Type,
    described,
    either,
    list_of,
    map_of,
)

_NUMBERS = ("int", "double", "number")


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
