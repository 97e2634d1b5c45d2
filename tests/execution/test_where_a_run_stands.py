"""Checkpoints hold data, and reading them runs nothing, whoever wrote them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from sqlalchemy import text

from agentflow.core.errors import LeaseLostError
from agentflow.store.leases import Lease
from agentflow.store.store import Store
from agentflow.workflow.checkpoints import StoreCheckpointer


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
    saver = StoreCheckpointer(Store.open(tmp_path), None)
    with caplog.at_level(logging.ERROR):
        saver.serde.loads_typed(("msgpack", crafted(code, folder)))
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
    with flow.workshop.store.transaction() as connection:
        changed = connection.execute(
            text("UPDATE checkpoints SET data = :data"), {"data": crafted(0, folder)}
        )
    assert changed.rowcount
    result = flow.decide(waiting.run_id, "approve", by="test")
    assert (result.status, result.error.kind) == ("failed", "Storage")
    assert "the checkpoint of a run" in str(result.error)
    assert not folder.exists()
    assert bench.calls == []


def test_only_the_newest_checkpoint_is_kept_and_it_does_not_grow_with_what_steps_give(bench: Any) -> None:
    steps = "".join(f"- {{id: s{n}, use: t.big}}\n" for n in range(12))
    bench.write(
        steps,
        tools='@tool(estimate=fine)\ndef big() -> dict[str, Any]:\n    return {"text": "x" * 100_000}\n',
    )
    flow = bench.open()
    result = flow.run("work")
    assert result.status == "succeeded", result.error
    with flow.workshop.store.transaction() as connection:
        count, size = connection.execute(text("SELECT count(*), max(length(data)) FROM checkpoints")).one()
    assert (count, size < 4_000) == (1, True)


def test_a_process_that_lost_its_run_moves_nothing(tmp_path: Path, store_url: str | None) -> None:
    store = Store.open(tmp_path, store_url)
    lease = store.create_run("r", "work", "d", {}, ttl_ms=0)
    assert lease is not None
    checkpoint = empty_checkpoint()
    placed: Any = {"configurable": {"thread_id": "r"}}

    async def put(lease: Lease, step: int) -> None:
        await StoreCheckpointer(store, lease).aput(
            placed, {**checkpoint, "id": str(step)}, {"source": "loop", "step": step}, {}
        )

    asyncio.run(put(lease, 1))
    taken = store.claim_run("r")
    with pytest.raises(LeaseLostError):
        asyncio.run(put(lease, 2))
    found = store.get_checkpoint("r")
    assert found is not None
    assert found.checkpoint_id == "1"
    asyncio.run(put(taken, 3))
    store.close()
