"""`StoreCheckpointer`: where a graph stands, kept by the project's own store.

LangGraph's own SQLite checkpointer keeps every checkpoint of a run for good, in a file of its own that no lease guards.
This one keeps the newest, in the same database as the steps, and writes it only while the run is still its process's:
see decision 0004. What a step gave back stands in its own row and never in a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agentflow.core.errors import StorageError
from agentflow.store.leases import Lease
from agentflow.store.store import Store


class StoreCheckpointer(BaseCheckpointSaver[int]):
    """The newest checkpoint of one run.

    The serializer's allow-list of types is empty: LangGraph's default imports and calls what a crafted checkpoint
    names (seen with langgraph-checkpoint 4.3). Writes of nodes that have not led to a checkpoint are not kept: the
    store knows which steps are finished, and a node that runs again finds them there.
    """

    def __init__(self, store: Store, lease: Lease | None) -> None:
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._store, self._lease = store, lease

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the newest checkpoint.

        Raises:
            StorageError: it is not what a run left.
        """
        run_id = _run_id(config)
        found = self._store.get_checkpoint(run_id)
        if found is None:
            return None
        with _readable(run_id):
            checkpoint: Any = self.serde.loads_typed((found.kind, found.data))
            if not isinstance(checkpoint, dict) or "channel_versions" not in checkpoint:
                raise ValueError("it is no checkpoint")
            placed: RunnableConfig = {"configurable": {**_place(run_id), "checkpoint_id": checkpoint["id"]}}
            return CheckpointTuple(placed, cast(Checkpoint, checkpoint), json.loads(found.metadata), None, [])

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Put a checkpoint into the place of the one before.

        Raises:
            LeaseLostError: another process has taken the run over; nothing was written.
        """
        run_id = _run_id(config)
        kind, data = self.serde.dumps_typed(checkpoint)
        about = json.dumps({name: metadata.get(name) for name in ("source", "step")})
        self._store.put_checkpoint(
            run_id, checkpoint["id"], data, kind=kind, metadata=about.encode(), lease=self._lease
        )
        return {"configurable": {**_place(run_id), "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep nothing: see the class."""

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield the one checkpoint that there is."""
        found = await self.aget_tuple(config) if config else None
        if found is not None:
            yield found


def _run_id(config: Mapping[str, Any]) -> str:
    return str(config["configurable"]["thread_id"])


def _place(run_id: str) -> dict[str, str]:
    return {"thread_id": run_id, "checkpoint_ns": ""}


@contextmanager
def _readable(run_id: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise StorageError("the checkpoint of a run", run_id, f"{type(error).__name__}: {error}") from error
