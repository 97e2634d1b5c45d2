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
    return _walk(value, where, made, lambda rollout: _encode_rollout(rollout, store, made))


def plain(value: Any, made: list[Artifact] | None = None, *, where: str = "a step's value") -> Any:
    """Return ``value`` as `decode` would return it after `encode`: JSON, with rollouts as they are."""
    return _walk(value, where, made, lambda rollout: rollout)


def _walk(value: Any, where: str, made: list[Artifact] | None, on_rollout: Callable[[Rollout], Any]) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return _scalar(value, where)
        case Artifact():
            if made is not None:
                made.append(value)
            return {"artifact": value.uri, "type": "file", "name": value.name, "media_type": value.media_type}
        case Rollout():
            return on_rollout(value)
        case BaseModel():
            value = {name: getattr(value, name) for name in type(value).model_fields}
        case np.ndarray() | np.generic():
            return _walk(value.tolist(), where, made, on_rollout)
    if isinstance(value, Mapping):
        return {str(name): _walk(item, f"{where}.{name}", made, on_rollout) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_walk(item, f"{where}[{index}]", made, on_rollout) for index, item in enumerate(value)]
    raise InvalidInputError(
        where,
        f"a {type(value).__name__}",
        "JSON, a pydantic model, an array, a rollout, an artifact",
    )


def _scalar(value: float | str | None, where: str) -> float | str | None:
    """Return a plain JSON scalar: subclasses (enums, numpy's numbers) become what they are made of."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else _finite(value, where)


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise InvalidInputError(where, str(value), "a finite number")
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
