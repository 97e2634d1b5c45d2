"""Values as state holds them: JSON and references. A rollout or a file becomes ``{"artifact": …, "type": …}``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import ArtifactStore
from agentflow.core.records import Artifact, canonical_json
from agentflow.worldmodel.contract import Rollout

ROLLOUT_TYPE = "application/x-agentflow-rollout"


def encode(
    value: Any,
    store: ArtifactStore | None = None,
    made: list[Artifact] | None = None,
    *,
    where: str = "a step's value",
) -> Any:
    """Return ``value`` as JSON.

    Args:
        value: anything that tools return: JSON, pydantic models, numpy arrays, artifacts, rollouts.
        store: keeps rollouts; without it they are only named by their digest.
        made: receives the artifacts that the value holds.
        where: what the value is, for errors.

    Raises:
        InvalidInputError: a number that is not finite, or a type that state cannot hold; names where it stands.
    """
    return _walked(value, where, _Walk(made, lambda rollout: _encode_rollout(rollout, store, made)))


def plain(value: Any, made: list[Artifact] | None = None, *, where: str = "a step's value") -> Any:
    """Return ``value`` as `decode` would return it after `encode`: JSON, with rollouts as they are."""
    return _walked(value, where, _Walk(made, lambda rollout: rollout))


def _walked(value: Any, where: str, walk: _Walk) -> Any:
    try:
        return walk.through(value)
    except _UnfitError as error:
        place = where + "".join(reversed(error.path))
        raise InvalidInputError(place, error.found, error.allowed) from None


class _UnfitError(Exception):
    """Something that is no JSON; ``path`` grows on the way out, innermost part first."""

    def __init__(self, found: str, allowed: str) -> None:
        self.found, self.allowed = found, allowed
        self.path: list[str] = []


_AS_IT_IS = frozenset({str, int, bool, type(None)})


class _Walk:
    """Goes through one value. Most of it is plain JSON, which is told by its very type and costs next to nothing."""

    def __init__(self, made: list[Artifact] | None, on_rollout: Callable[[Rollout], Any]) -> None:
        self._made, self._on_rollout = made, on_rollout

    def through(self, value: Any) -> Any:
        kind = type(value)
        if kind in _AS_IT_IS:
            return value
        if kind is float:
            return _finite(value)
        if kind is dict:
            return self._mapping(value)
        if kind is list or kind is tuple:
            return self._sequence(value)
        return self._other(value)

    def _mapping(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, item in value.items():
            try:
                made[str(name)] = item if type(item) in _AS_IT_IS else self.through(item)
            except _UnfitError as error:
                error.path.append(f".{name}")
                raise
        return made

    def _sequence(self, value: Sequence[Any]) -> list[Any]:
        made: list[Any] = []
        for item in value:
            try:
                made.append(item if type(item) in _AS_IT_IS else self.through(item))
            except _UnfitError as error:
                error.path.append(f"[{len(made)}]")
                raise
        return made

    def _other(self, value: Any) -> Any:
        match value:
            case bool() | int() | float() | str():
                return _scalar(value)
            case Artifact():
                if self._made is not None:
                    self._made.append(value)
                named = {"name": value.name, "media_type": value.media_type}
                return {"artifact": value.uri, "type": "file", **named}
            case Rollout():
                return self._on_rollout(value)
            case BaseModel():
                return self._mapping({name: getattr(value, name) for name in type(value).model_fields})
            case np.ndarray() | np.generic():
                return self.through(value.tolist())
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return self._sequence(value)
        raise _UnfitError(
            f"a {type(value).__name__}", "JSON, a pydantic model, an array, a rollout, an artifact"
        )


def _scalar(value: float | str) -> float | str:
    """Return a plain JSON scalar: subclasses (enums, numpy's numbers) become what they are made of."""
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else _finite(value)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _UnfitError(str(value), "a finite number")
    return float(value)


def _encode_rollout(
    value: Rollout, store: ArtifactStore | None, made: list[Artifact] | None
) -> dict[str, Any]:
    data = value.to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if store is not None:
        artifact = store.put(data, ROLLOUT_TYPE, "rollout.npz", {"horizon_steps": value.horizon})
        if made is not None:
            made.append(artifact)
    return {"artifact": f"artifact:{digest}", "type": "rollout", "horizon_steps": value.horizon}


def decode(value: Any, store: ArtifactStore) -> Any:
    """Return JSON with its rollouts read back."""
    if isinstance(value, Mapping):
        if value.get("type") == "rollout" and "artifact" in value:
            return Rollout.from_bytes(store.path(str(value["artifact"])).read_bytes())
        return {name: decode(item, store) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [decode(item, store) for item in value]
    return value


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON; two values with one digest are the same."""
    return hashlib.sha256(canonical_json(encode(value)).encode()).hexdigest()
