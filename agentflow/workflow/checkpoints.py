"""LangGraph's SQLite checkpointer with a serializer that revives nothing: state is JSON, and stays JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from agentflow.core.errors import StorageError


async def waiting_question(saver: Any, run_id: str) -> dict[str, Any]:
    """Return what a run asks a person, as it was when it began to wait; empty where it asks nothing.

    Raises:
        StorageError: the checkpoint is not what a run left.
    """
    with _readable(run_id):
        found = await saver.aget_tuple({"configurable": {"thread_id": run_id}})
        for _, channel, value in (found.pending_writes or ()) if found else ():
            if channel == "__interrupt__":
                question: dict[str, Any] = value[0].value
                return question
    return {}


async def snapshot(graph: Any, config: dict[str, Any]) -> Any:
    """Return where a run's graph stands.

    Raises:
        StorageError: the checkpoint is not what a run left.
    """
    with _readable(config["configurable"]["thread_id"]):
        return await graph.aget_state(config)


@contextmanager
def _readable(run_id: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise StorageError("the checkpoint of a run", run_id, f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def open_checkpointer(path: Path) -> AsyncIterator[Any]:
    """Open the checkpoints of a project.

    The serializer's allow-list of types is empty: LangGraph's default imports and calls what a crafted checkpoint
    names (seen with langgraph-checkpoint 4.3).

    Raises:
        StorageError: the file cannot be opened.
    """
    import aiosqlite
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    serializer = JsonPlusSerializer(allowed_msgpack_modules=None)

    async def opened() -> aiosqlite.Connection:
        return await aiosqlite.connect(path)

    try:
        opening = asyncio.ensure_future(opened())
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            await (
                await opening
            ).close()  # cut off while it was opening: its thread must not outlive the loop
            raise
        try:
            saver = AsyncSqliteSaver(connection, serde=serializer)
            await saver.setup()
            yield saver
        finally:
            await connection.close()
    except aiosqlite.Error as error:
        raise StorageError("checkpoints", str(path), error) from error
