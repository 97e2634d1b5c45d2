"""For each run the newest checkpoint, as the bytes that were put."""

from __future__ import annotations

import pytest

from agentflow.core.errors import LeaseLostError
from agentflow.store.records import CheckpointRecord, CheckpointWrite
from agentflow.store.store import Store

BYTES = bytes(range(256))


def test_a_checkpoint_reads_back_as_it_was_put_with_its_writes_in_order(store: Store) -> None:
    assert store.get_checkpoint("r1") is None
    store.put_checkpoint("r1", "c1", BYTES, kind="msgpack", metadata=b"{}")
    for task in ("z", "a", "m"):
        store.put_checkpoint_write("r1", "c1", task, task.encode(), kind="json")
    assert store.get_checkpoint("r1") == CheckpointRecord(
        run_id="r1",
        checkpoint_id="c1",
        kind="msgpack",
        data=BYTES,
        metadata=b"{}",
        writes=tuple(CheckpointWrite(task=task, kind="json", data=task.encode()) for task in "zam"),
    )


def test_a_checkpoint_takes_the_place_of_the_one_before_and_of_its_writes(store: Store) -> None:
    store.put_checkpoint("r1", "c1", b"1")
    store.put_checkpoint_write("r1", "c1", "a", b"old")
    store.put_checkpoint("r2", "c1", b"another run's")
    store.put_checkpoint("r1", "c2", b"2")
    assert store.get_checkpoint("r1") == CheckpointRecord(
        run_id="r1", checkpoint_id="c2", kind="", data=b"2", metadata=b""
    )
    assert store.get_checkpoint("r2").data == b"another run's"
    with store.database.read() as connection:
        for table, rows in (("checkpoints", 2), ("checkpoint_writes", 0)):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == rows  # noqa: S608


def test_a_checkpoint_put_again_keeps_its_writes_and_a_task_that_writes_again_replaces_its_own(
    store: Store,
) -> None:
    store.put_checkpoint("r1", "c1", b"1")
    store.put_checkpoint_write("r1", "c1", "a", b"first")
    store.put_checkpoint_write("r1", "c1", "a", b"second")
    store.put_checkpoint("r1", "c1", b"1 again")
    found = store.get_checkpoint("r1")
    assert (found.data, [write.data for write in found.writes]) == (b"1 again", [b"second"])


def test_a_deleted_checkpoint_is_gone_with_its_writes(store: Store) -> None:
    store.put_checkpoint("r1", "c1", b"1")
    store.put_checkpoint_write("r1", "c1", "a", b"a")
    store.delete_checkpoint("r1")
    store.delete_checkpoint("r1")
    assert store.get_checkpoint("r1") is None
    store.put_checkpoint("r1", "c1", b"1")
    assert store.get_checkpoint("r1").writes == ()


def test_a_process_that_lost_its_run_puts_no_checkpoint(store: Store) -> None:
    store.create_run("r1", "w", "d", {}, claim=False)
    lost = store.claim_run("r1", ttl_ms=0)
    store.put_checkpoint("r1", "c1", b"1", lease=lost)
    store.claim_run("r1")
    with pytest.raises(LeaseLostError):
        store.put_checkpoint("r1", "c2", b"2", lease=lost)
    with pytest.raises(LeaseLostError):
        store.put_checkpoint_write("r1", "c1", "a", b"a", lease=lost)
    assert store.get_checkpoint("r1").checkpoint_id == "c1"


def test_a_checkpoint_is_put_with_what_it_belongs_to_or_not_at_all(store: Store) -> None:
    def put_then_crash() -> None:
        with store.transaction() as transaction:
            store.put_checkpoint("r1", "c1", b"1", transaction=transaction)
            store.put_checkpoint_write("r1", "c1", "a", b"a", transaction=transaction)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_then_crash()
    assert store.get_checkpoint("r1") is None
