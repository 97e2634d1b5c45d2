"""Checkpoints hold data, and reading them runs nothing, whoever wrote them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import ormsgpack
import pytest

from agentflow.core.errors import StorageError
from agentflow.workflow.checkpoints import open_checkpointer


def crafted(code: int, folder: Path) -> bytes:
    """Return a checkpoint that asks its reader to call ``os.mkdir``, in each form that LangGraph knows."""
    path = str(folder)
    inner: tuple[Any, ...] = {
        0: ("os", "mkdir", path),
        1: ("os", "mkdir", [path]),
        2: ("os", "mkdir", {"path": path}),
        3: ("os", "mkdir", path, "__call__"),
        4: ("os", "mkdir", {"path": path}, "__call__"),
        5: ("os", "mkdir", {"path": path}, "__call__"),
    }[code]
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(inner)))


@pytest.mark.parametrize("code", range(6))
def test_a_crafted_value_calls_nothing_when_it_is_read(
    tmp_path: Path, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "made-by-the-checkpoint"

    async def read() -> Any:
        async with open_checkpointer(tmp_path / "checkpoints.db") as saver:
            return saver.serde.loads_typed(("msgpack", crafted(code, folder)))

    with caplog.at_level(logging.ERROR):
        asyncio.run(read())
    assert not folder.exists()


def test_a_run_with_a_crafted_checkpoint_is_refused_and_nothing_is_called(bench: Any, tmp_path: Path) -> None:
    bench.write(
        "- {id: ok, approval: {message: 'Go on?'}}\n- {id: last, use: t.work}",
        tools='@tool(estimate=fine)\ndef work() -> dict[str, Any]:\n    note("work")\n    return {}\n',
    )
    flow = bench.open()
    waiting = flow.run("work")
    assert waiting.status == "waiting"
    folder = tmp_path / "made-by-the-checkpoint"
    with sqlite3.connect(bench.root / ".agentflow" / "checkpoints.db") as connection:
        changed = connection.execute("UPDATE checkpoints SET checkpoint = ?", (crafted(0, folder),)).rowcount
    connection.close()
    assert changed
    result = flow.decide(waiting.run_id, "approve", by="test")
    assert (result.status, result.error.kind) == ("failed", "Storage")
    assert "the checkpoint of a run" in str(result.error)
    assert not folder.exists()
    assert bench.calls == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.db"
    file.write_bytes(b"this is no database, whatever its name says" * 50)

    async def read() -> None:
        async with open_checkpointer(file):
            pass

    with pytest.raises(StorageError, match=r"checkpoints: .*checkpoints\.db: file is not a database"):
        asyncio.run(read())
