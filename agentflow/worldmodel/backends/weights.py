"""Weights on disk: safetensors only, checked against a digest before a byte of them is used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from agentflow.core.errors import MissingExtraError, WeightsError
from agentflow.worldmodel.backends.ensemble import DynamicsEnsemble


def save(network: DynamicsEnsemble, path: Path) -> str:
    """Write a network's parameters and return the file's sha256; a reader never sees a half-written file."""
    from safetensors.torch import save as to_bytes

    data = to_bytes({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    os.chmod(partial, 0o644)
    os.replace(partial, path)
    return hashlib.sha256(data).hexdigest()


def load(network: DynamicsEnsemble, path: Path, sha256: str | None) -> str:
    """Fill a network from a file and return the file's sha256.

    Raises:
        WeightsError: no file, another digest than ``sha256``, not safetensors, or other shapes.
        MissingExtraError: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load as from_bytes
    except ImportError as error:
        raise MissingExtraError("a learned world", "worlds", "safetensors") from error
    expected = f"the file of the world card, sha256 {sha256}" if sha256 else "a safetensors file"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(str(path), error.strerror or str(error), expected) from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise WeightsError(str(path), f"sha256 {digest}", expected)
    try:
        network.load_state_dict(from_bytes(data))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise WeightsError(str(path), f"not loadable ({str(error).splitlines()[0]})", expected) from error
    return digest
