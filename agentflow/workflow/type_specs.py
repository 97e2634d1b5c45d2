"""`TypeSpec`: a type as a workflow file declares it, and the `Type` that it stands for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PrivateAttr, Strict, WithJsonSchema, model_validator

from agentflow.core.errors import nearest
from agentflow.workflow import types
from agentflow.workflow.fields import Flag, Identifier, Number, Section, mistake, shown
from agentflow.workflow.type_hints import GIVEN_TYPES, given_type
from agentflow.workflow.types import Limits, Type

PLAIN_TYPES = ("string", "integer", "number", "boolean", "object", "array", "any")
TYPE_NAME = r"^[A-Z][A-Za-z0-9]*$"

_LIST_OF = re.compile(r"((?:list of\s+){1,4})(\S.*)")
_MEANT = {
    "str": "string", "text": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean",
    "dict": "object", "map": "object", "mapping": "object", "list": "array", "tuple": "array",
}  # fmt: skip
_KINDS = {
    "string": types.STRING,
    "integer": types.INT,
    "number": types.DOUBLE,
    "boolean": types.BOOL,
    "any": types.ANY,
}
_NO_LIMITS = Limits()
_ORDERED = ("integer", "number")
_LONG = ("string", "array")
_SERVES = {
    "minimum": _ORDERED,
    "maximum": _ORDERED,
    "min_length": _LONG,
    "max_length": _LONG,
    "enum": ("string", *_ORDERED),
    "items": ("array",),
    "fields": ("object",),
    "values": ("object",),
}
"""The types that a key goes with."""


def _type_name(value: Any) -> Any:
    if value in PLAIN_TYPES or not isinstance(value, str) or re.fullmatch(TYPE_NAME, value):
        return value
    name = value[:60]
    hint = f" Did you mean '{_MEANT[name]}'?" if name in _MEANT else nearest(name, PLAIN_TYPES)
    raise mistake(
        "unknown type {found}.{hint} Allowed: {plain}, 'list of …', or a name from `types`, which starts with a "
        "capital letter.",
        found=shown(value),
        hint=hint,
        plain=", ".join(PLAIN_TYPES),
    )


def _own_type_name(value: Any) -> Any:
    if value in GIVEN_TYPES:
        raise mistake("'{name}' is a type of agentflow already; choose another name.", name=value)
    if isinstance(value, str) and not re.fullmatch(TYPE_NAME, value):
        raise mistake(
            "{found} cannot be the name of a type: it starts with a capital letter and goes on with letters and "
            "digits, as in 'Scene'.",
            found=shown(value),
        )
    return value


def _written_out(value: Any) -> Any:
    """Return the long form of ``string`` and ``list of string``."""
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return value
    found = _LIST_OF.fullmatch(value["type"].strip())
    if found is None:
        return value
    if "items" in value:
        raise mistake("'list of …' says already what `items` says; keep one of them.")
    inner: Any = {"type": found[2]}
    for _ in range(found[1].count("list") - 1):
        inner = {"type": "array", "items": inner}
    return {**value, "type": "array", "items": inner}


OwnTypeName = Annotated[
    str, BeforeValidator(_own_type_name), WithJsonSchema({"type": "string", "pattern": TYPE_NAME})
]
"""A name under ``types``."""

_Length = Annotated[int, Strict(), Field(ge=0)]
_TypeName = Annotated[
    str,
    BeforeValidator(_type_name),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [*PLAIN_TYPES, *GIVEN_TYPES]},
                {"type": "string", "pattern": "^(list of |[A-Z])"},
            ]
        }
    ),
]


class TypeSpec(Section):
    """A type. Its name alone will do where nothing else is to be said: ``string``, ``list of Scene``."""

    type: _TypeName = Field(
        description="string, integer, number, boolean, object, array, any; a name from `types`; Plan, Rollout, "
        "Artifact; or 'list of' one of these.",
        examples=["string", "Scene", "list of number"],
    )
    description: str = Field(
        default="", description="What it is, for people.", examples=["Where the block goes."]
    )
    default: Any = Field(default=None, description="Taken when none is given.", examples=[64])
    optional: Flag = Field(
        default=False, description="It may be left out, or be null; then it is null.", examples=[True]
    )
    minimum: Number | None = Field(default=None, description="The least number.", examples=[1])
    maximum: Number | None = Field(default=None, description="The greatest number.", examples=[4096])
    min_length: _Length | None = Field(
        default=None, description="Characters of a text, or items of an array, at least.", examples=[1]
    )
    max_length: _Length | None = Field(
        default=None, description="Characters of a text, or items of an array, at most.", examples=[500]
    )
    enum: tuple[Any, ...] | None = Field(
        default=None, min_length=1, description="The only values allowed.", examples=[["fast", "careful"]]
    )
    items: TypeSpec | None = Field(
        default=None, description="The type of each item of an array.", examples=["number", {"type": "Body"}]
    )
    fields: dict[Identifier, TypeSpec] | None = Field(
        default=None,
        description="The fields of an object; it has no others, unless `values` is given.",
        examples=[{"seed": {"type": "integer"}, "label": {"type": "string", "optional": True}}],
    )
    values: TypeSpec | None = Field(
        default=None, description="The type of all other fields of an object.", examples=["number"]
    )

    _name: str = PrivateAttr(default="")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return _written_out(value)

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return not self.optional and "default" not in self.model_fields_set

    @property
    def named(self) -> bool:
        """Whether it is a name from ``types`` that is still to be looked up."""
        return self.type not in PLAIN_TYPES and self.type not in GIVEN_TYPES

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for key, served in _SERVES.items():
            if getattr(self, key) is not None and self.type not in served:
                raise mistake(
                    "`{key}` is for type {served}, not {type}.",
                    key=key,
                    served=" or ".join(served),
                    type=self.type,
                )
        for value in self.enum or ():
            if not _is_of(value, self.type):
                raise mistake(
                    "`enum` holds {found}, which does not fit type {type}.",
                    found=shown(value),
                    type=self.type,
                )
        _check_order("minimum", self.minimum, "maximum", self.maximum, "number")
        _check_order("min_length", self.min_length, "max_length", self.max_length, "length")
        return self

    def settled(self, use: TypeSpec, name: str) -> TypeSpec:
        """Return this definition as it stands where ``use`` names it: with what is said there."""
        said: dict[str, Any] = {
            key: getattr(use, key)
            for key in ("description", "default", "optional")
            if key in use.model_fields_set
        }
        settled = self.model_copy(update=said)
        settled._name = name
        return settled

    def to_type(self) -> Type:
        """Return the type of the values that fit; every name in it has been looked up."""
        if self.type in GIVEN_TYPES:
            plain = given_type(self.type)
        elif self.type == "array":
            plain = types.list_of(self.items.to_type() if self.items else types.ANY)
        elif self.type == "object":
            plain = self._map()
        else:
            plain = _KINDS.get(self.type, types.ANY)
        limits = Limits(self.minimum, self.maximum, self.min_length, self.max_length, self.enum)
        named = plain
        if limits != _NO_LIMITS or self._name:
            own = limits if limits != _NO_LIMITS else plain.limits
            named = replace(plain, name=self._name or plain.name, limits=own)
        return named.or_null() if self._may_be_null else named

    @property
    def _may_be_null(self) -> bool:
        given = "default" in self.model_fields_set
        return self.default is None if given else self.optional

    def _map(self) -> Type:
        if self.fields is None:
            return types.map_of(None, self.values.to_type() if self.values else None)
        inner = {name: spec.to_type() for name, spec in self.fields.items()}
        return replace(
            types.map_of(inner, self.values.to_type() if self.values else None),
            optional=frozenset(name for name, spec in self.fields.items() if not spec.required),
            defaults={name: spec.default for name, spec in self.fields.items() if not spec.required},
            strict=True,
        )


def _is_of(value: Any, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (kind == "number" and isinstance(value, float))


def _check_order(low: str, least: float | None, high: str, most: float | None, what: str) -> None:
    if least is not None and most is not None and least > most:
        raise mistake("`{low}` is above `{high}`; no {what} fits.", low=low, high=high, what=what)
