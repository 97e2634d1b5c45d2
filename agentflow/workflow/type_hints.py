"""`type_of_hint`: the `Type` of what a Python annotation describes, as JSON holds it after the call."""

from __future__ import annotations

import dataclasses
import enum
import types as python_types
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel
from typing_extensions import is_typeddict

from agentflow.core.records import Artifact
from agentflow.workflow.types import (
    ANY,
    BOOL,
    INT,
    NULL,
    NUMBER,
    STRING,
    Limits,
    Type,
    either,
    list_of,
    map_of,
)

MAX_DEPTH = 12
"""How far a type is followed; deeper parts are not known."""

ROLLOUT = dataclasses.replace(
    map_of({"artifact": STRING, "type": STRING, "horizon_steps": INT}), name="Rollout"
)
ARTIFACT = dataclasses.replace(
    map_of({"artifact": STRING, "type": STRING, "name": STRING, "media_type": STRING}), name="Artifact"
)
"""A rollout and a file, as state refers to them."""

_PLAIN: dict[Any, Type] = {
    str: STRING, bool: BOOL, int: INT, float: NUMBER, None: NULL, type(None): NULL,
    dict: map_of(), list: list_of(), tuple: list_of(), Mapping: map_of(), Sequence: list_of(), Artifact: ARTIFACT,
}  # fmt: skip
_LISTS = (list, Sequence)
_MAPS = (dict, Mapping)


def _plan() -> Type:
    from agentflow.agent.plan import Plan

    return type_of_hint(Plan)


_GIVEN: dict[str, Callable[[], Type]] = {
    "Plan": _plan,
    "Rollout": lambda: ROLLOUT,
    "Artifact": lambda: ARTIFACT,
}
GIVEN_TYPES = tuple(_GIVEN)
"""Types that every file may name without declaring them."""


def given_type(name: str) -> Type:
    """Return one of `GIVEN_TYPES`."""
    return _GIVEN[name]()


def type_of_hint(hint: Any, above: tuple[Any, ...] = ()) -> Type:
    """Return the type of values of an annotation; ``ANY`` for what JSON has no form of, or that is not known.

    ``above`` are the classes that the annotation stands in: one that holds itself is not followed further.
    """
    if len(above) > MAX_DEPTH or any(hint is each for each in above):
        return ANY
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Annotated, Required, NotRequired):
        return type_of_hint(arguments[0], above)
    if origin in (Union, python_types.UnionType):
        return either(type_of_hint(each, above) for each in arguments)
    if origin is Literal:
        return _one_of(arguments)
    if origin in _LISTS:
        return list_of(type_of_hint(arguments[0], above))
    if origin is tuple:
        return _of_tuple(arguments, above)
    if origin in _MAPS:
        return map_of(None, type_of_hint(arguments[1], above)) if arguments[0] is str else map_of()
    return (
        _of_class(hint, above) if isinstance(hint, type) else _PLAIN.get(hint, ANY) if hint is None else ANY
    )


def _one_of(values: tuple[Any, ...]) -> Type:
    plain = either(_PLAIN.get(type(value), ANY) for value in values)
    return dataclasses.replace(plain, limits=Limits(enum=values)) if plain.kind != "any" else ANY


def _of_tuple(arguments: tuple[Any, ...], above: tuple[Any, ...]) -> Type:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return list_of(type_of_hint(arguments[0], above))
    items = list_of(either(type_of_hint(each, above) for each in arguments))
    return dataclasses.replace(items, limits=Limits(min_length=len(arguments), max_length=len(arguments)))


def _of_class(hint: type, above: tuple[Any, ...]) -> Type:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if (hint.__module__, hint.__name__) == ("agentflow.worldmodel.contract", "Rollout"):
        return ROLLOUT  # told by its name: checking a file imports no world
    if issubclass(hint, enum.Enum):
        return _one_of(tuple(member.value for member in hint))
    if issubclass(hint, BaseModel):
        fields = {name: info.annotation for name, info in hint.model_fields.items()}
        optional = {name for name, info in hint.model_fields.items() if not info.is_required()}
        aliased = any(info.alias or info.validation_alias for info in hint.model_fields.values())
        more = (
            ANY
            if aliased or hint.model_computed_fields or hint.model_config.get("extra") == "allow"
            else None
        )
        return _named(hint, fields, optional, above, more)
    return _of_record(hint, above)


def _of_record(hint: type, above: tuple[Any, ...]) -> Type:
    """Return the type of a dataclass or a ``TypedDict``."""
    try:
        hints = get_type_hints(hint, include_extras=True)
    except (NameError, TypeError):
        return ANY
    if is_typeddict(hint):
        said = {
            name: get_origin(each) for name, each in hints.items()
        }  # its own sets miss deferred annotations
        optional = {name for name in getattr(hint, "__optional_keys__", ()) if said[name] is not Required}
        return _named(hint, hints, optional | {name for name in said if said[name] is NotRequired}, above)
    if not dataclasses.is_dataclass(hint):
        return ANY
    fields = {field.name: hints[field.name] for field in dataclasses.fields(hint)}
    missing = dataclasses.MISSING
    optional = {
        field.name
        for field in dataclasses.fields(hint)
        if field.default is not missing or field.default_factory is not missing
    }
    return _named(hint, fields, optional, above)


def _named(
    hint: type,
    fields: Mapping[str, Any],
    optional: set[str],
    above: tuple[Any, ...],
    more: Type | None = None,
) -> Type:
    inner = {name: type_of_hint(each, (*above, hint)) for name, each in fields.items()}
    return dataclasses.replace(map_of(inner, more), name=hint.__name__, optional=frozenset(optional))
