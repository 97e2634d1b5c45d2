"""`Workshop`: what the runs of one project share, from the store to the opened worlds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentflow.budget.ledger import Ledger
from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, StorageError
from agentflow.core.protocols import ChatModel
from agentflow.execution.call import StepCall
from agentflow.execution.workers import Workers
from agentflow.llm.models import build_chat_model
from agentflow.store.artifacts import FileArtifacts
from agentflow.store.heartbeat import Heartbeat
from agentflow.store.leases import Lease
from agentflow.store.store import Store
from agentflow.tracing.export import Exporters
from agentflow.workflow.expressions import Secrets, resolve
from agentflow.workflow.project import Project
from agentflow.workflow.schema import EmbeddedModel, WorldSpec
from agentflow.worldmodel import catalog

PROJECT_SCOPE = "project"
_SECRET = re.compile(r"secrets\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass
class Workshop:
    """What runs of one project share: store, ledger, artifacts, exporters, opened worlds and models."""

    project: Project
    folder: Path
    models: Mapping[str, Any] = field(default_factory=dict)
    """Language models that the calling program hands over, by their name in the file."""
    secrets: Mapping[str, str] | None = None
    database_url: str | None = None
    worlds: dict[str, Any] = field(default_factory=dict)
    """Worlds, and their simulators, by their name in the file: those of the calling program come first."""
    simulators: dict[str, Any] = field(default_factory=dict)
    replay: Callable[[StepCall], StepCall] | None = None
    """What answers the calls of its runs in their place, see `RunContext.replay`."""

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError("the project's records", str(self.folder), error) from error
        self.store = Store.of_project(self.folder, self.database_url)
        self.ledger = Ledger(self.store)
        self.ledger.open_scope(PROJECT_SCOPE, Amounts.unlimited())
        self.artifacts = FileArtifacts(self.folder)
        self.exporters = Exporters.from_environment()
        self.workers = Workers()
        self._kept: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}
        self._heartbeat = Heartbeat(
            self.store, on_lost=lambda run: self._tell(run, 0), on_cancel=lambda run: self._tell(run, 1)
        )
        self._chats: dict[str, ChatModel | None] = {}

    def close(self) -> None:
        """Close what was opened; exporters get a moment to send what they hold."""
        self._heartbeat.stop()
        self.workers.close()
        self.exporters.close()
        for simulator in self.simulators.values():
            simulator.close()
        for chat in self._chats.values():
            close = getattr(chat, "close", None)
            if close is not None:
                close()
        self.store.close()

    @contextmanager
    def keep(
        self, lease: Lease, on_lost: Callable[[], None], on_cancel: Callable[[], None]
    ) -> Iterator[None]:
        """Keep a run's lease while there is work on it, and give the run back at the end.

        Args:
            lease: of the run.
            on_lost: called from another thread when another process has taken the run over.
            on_cancel: called from another thread when somebody asks to end the run.
        """
        self._kept[lease.run_id] = on_lost, on_cancel
        self._heartbeat.add(lease)
        try:
            yield
        finally:
            self._heartbeat.remove(lease)
            self._kept.pop(lease.run_id, None)
            self.store.release_run(lease)

    def _tell(self, run_id: str, which: int) -> None:
        if told := self._kept.get(run_id):
            told[which]()

    def world(self, name: str | None) -> Any:
        """Return an opened world of the file; without a name, its only one."""
        key, spec = self._world_spec(name)
        if key not in self.worlds:
            if spec.url:
                raise InvalidInputError(
                    f"worlds.{key}.url",
                    f"'{spec.url}'",
                    "`use: <name>`; world servers are not part of this version yet",
                )
            weights = self.project.root / spec.weights if spec.weights else None
            self.worlds[key] = catalog.open_world(spec.use or key, device=spec.device, weights=weights)
        return self.worlds[key]

    def simulator(self, name: str | None) -> Any:
        """Return the true simulator of a world of the file."""
        key, spec = self._world_spec(name)
        if key not in self.simulators:
            self.simulators[key] = catalog.open_simulator(spec.use or key)
        return self.simulators[key]

    def _world_spec(self, name: str | None) -> tuple[str, WorldSpec]:
        worlds = self.project.file.spec.worlds
        if name is None:
            if len(worlds) != 1:
                raise InvalidInputError(
                    "world", "none named", f"one of {', '.join(worlds) or 'none: declare one under `worlds`'}"
                )
            name = next(iter(worlds))
        if name not in worlds:
            raise InvalidInputError("world", f"'{name}'", ", ".join(worlds))
        return name, worlds[name]

    def chat(self, name: str) -> ChatModel | None:
        """Return a language model of the file, or None for the embedded planner; the program's own comes first."""
        if name not in self._chats:
            spec = self.project.file.spec.models[name]
            if isinstance(self.models.get(name), ChatModel):
                self._chats[name] = self.models[name]
            elif isinstance(spec, EmbeddedModel):
                self._chats[name] = None
            else:
                scope = {"secrets": Secrets(self.secrets, f"models.{name}")}
                settings = resolve(_model_settings(spec, self.project.root), scope)
                self._chats[name] = build_chat_model(name, settings, self.models.get(name))
        return self._chats[name]

    def named_secrets(self) -> dict[str, str]:
        """Return all secrets that the file names and that are set."""
        names = set(_SECRET.findall(self.project.file.spec.model_dump_json(by_alias=True)))
        source = os.environ if self.secrets is None else self.secrets
        return {name: source[name] for name in names if source.get(name)}

    def secret_values(self) -> list[str]:
        """Return the values of all secrets that the file names, so that no span holds one."""
        return list(self.named_secrets().values())


def _model_settings(spec: Any, root: Path) -> dict[str, Any]:
    """Return an entry under ``models:`` as `build_chat_model` takes it."""
    raw: dict[str, Any] = {"provider": spec.provider}
    if spec.provider in ("openai", "langchain") and spec.price:
        raw["price"] = {
            "input_per_million_usd": spec.price.input_usd_per_million,
            "output_per_million_usd": spec.price.output_usd_per_million,
        }
    if spec.provider == "openai":
        raw |= {
            "base_url": spec.base_url, "model": spec.model, "timeout_s": spec.timeout, "max_paid_attempts": 1,
            "options": {"temperature": spec.temperature},
        }  # fmt: skip
        if spec.api_key:
            raw["api_key"] = spec.api_key
    if spec.provider == "local":
        raw |= {"path": str(root / spec.path), "context": spec.context_tokens}
    return raw
