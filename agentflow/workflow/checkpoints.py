"""LangGraph's SQLite checkpointer with a serializer that revives nothing: state is JSON, and stays JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentflow.core.errors import StorageError


async def waiting_question(saver: Any, run_id: str) -> dict[str, Any]:
    """Return what a run asks a person, as it was when it began to wait; empty where it asks nothing."""
    found = await saver.aget_tuple({"configurable": {"thread_id": run_id}})
    for _, channel, value in (found.pending_writes or ()) if found else ():
        if channel == "__interrupt__":
            question: dict[str, Any] = value[0].value
            return question
    return {}


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
    try:
        async with aiosqlite.connect(path) as connection:
            saver = AsyncSqliteSaver(connection, serde=serializer)
            await saver.setup()
            yield saver
    except aiosqlite.Error as error:
        raise StorageError("checkpoints", str(path), error) from error
