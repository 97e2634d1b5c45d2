"""Values as state holds them: JSON and references. A rollout or a file becomes ``{"artifact": …, "type": …}``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import ArtifactStore
from agentflow.core.records import Artifact, canonical_json
from agentflow.worldmodel.contract import Rollout

ROLLOUT_TYPE = "application/x-agentflow-rollout"


def encode(value: Any, store: ArtifactStore | None = None, made: list[Artifact] | None = None) -> Any:
    """Return ``value`` as JSON.

    Args:
        value: anything that tools return: JSON, pydantic models, numpy arrays, artifacts, rollouts.
        store: keeps rollouts; without it they are only named by their digest.
        made: receives the artifacts that the value holds.

    Raises:
        InvalidInputError: a number that is not finite, or a type that state cannot hold.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _finite(value)
        case Artifact():
            if made is not None:
                made.append(value)
            return {"artifact": value.uri, "type": "file", "name": value.name, "media_type": value.media_type}
        case Rollout():
            return _encode_rollout(value, store, made)
        case BaseModel():
            return encode({name: getattr(value, name) for name in type(value).model_fields}, store, made)
        case np.ndarray() | np.generic():
            return encode(value.tolist(), store, made)
        case Mapping():
            return {str(name): encode(item, store, made) for name, item in value.items()}
        case list() | tuple():
            return [encode(item, store, made) for item in value]
    raise InvalidInputError(
        "a step's value",
        f"a {type(value).__name__}",
        "JSON, a pydantic model, an array, a rollout, an artifact",
    )


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InvalidInputError("a step's value", str(value), "a finite number")
    return value


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
    if isinstance(value, list):
        return [decode(item, store) for item in value]
    return value


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON; two values with one digest are the same."""
    return hashlib.sha256(canonical_json(encode(value)).encode()).hexdigest()
