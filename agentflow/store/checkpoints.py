"""The rows of checkpoints: for each run the newest one, as bytes. What they mean is the graph's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select
from sqlmodel import col

from agentflow.store.database import Database, upsert_prepared
from agentflow.store.leases import Lease, under
from agentflow.store.prepared import Prepared
from agentflow.store.records import CheckpointRecord, CheckpointWrite
from agentflow.store.tables import CheckpointRow, CheckpointWriteRow


class Checkpoints:
    """What the store knows about checkpoints."""

    database: Database

    def put_checkpoint(
        self,
        run_id: str,
        checkpoint_id: str,
        data: bytes,
        *,
        kind: str = "",
        metadata: bytes = b"",
        lease: Lease | None = None,
        transaction: Connection | None = None,
    ) -> None:
        """Keep a run's newest checkpoint in the place of the one before, whose writes go with it.

        Args:
            run_id: the run.
            checkpoint_id: tells this checkpoint from the one before.
            data: what the graph needs to go on.
            kind: how ``data`` is to be read.
            metadata: what the graph knows about it.
            lease: the right to write for the run; a transaction that was opened with it needs no other.
            transaction: the one to take part in; without it, this is one of its own.
        """
        row = {
            "run_id": run_id,
            "checkpoint_id": checkpoint_id,
            "kind": kind,
            "data": data,
            "about": metadata,
        }

        def put(connection: Connection) -> None:
            upsert_prepared(CheckpointRow, connection.dialect.name).run(connection, row)
            _DELETE_OLD_WRITES.run(connection, {"run": run_id, "checkpoint": checkpoint_id})

        self._put(put, lease, transaction)

    def put_checkpoint_write(
        self,
        run_id: str,
        checkpoint_id: str,
        task: str,
        data: bytes,
        *,
        kind: str = "",
        lease: Lease | None = None,
        transaction: Connection | None = None,
    ) -> None:
        """Keep what one task wrote after a checkpoint, in the place of what it wrote before."""
        row = {"run_id": run_id, "checkpoint_id": checkpoint_id, "task": task, "kind": kind, "data": data}

        def put(connection: Connection) -> None:
            found = _LAST_WRITE.run(connection, {"run": run_id, "checkpoint": checkpoint_id}).fetchone()
            number = 0 if found is None or found[0] is None else found[0] + 1
            upsert_prepared(CheckpointWriteRow, connection.dialect.name).run(
                connection, row | {"number": number}
            )

        self._put(put, lease, transaction)

    def get_checkpoint(self, run_id: str) -> CheckpointRecord | None:
        """Return a run's newest checkpoint with what was written after it, or None where there is none."""
        with self.database.read(snapshot=True) as connection:
            row = _CHECKPOINT.run(connection, {"run": run_id}).fetchone()
            if row is None:
                return None
            written = _WRITES.run(connection, {"run": run_id, "checkpoint": row[0]}).fetchall()
        return CheckpointRecord(
            run_id=run_id,
            checkpoint_id=row[0],
            kind=row[1],
            data=row[2],
            metadata=row[3],
            writes=tuple(CheckpointWrite(task=task, kind=kind, data=data) for task, kind, data in written),
        )

    def delete_checkpoint(self, run_id: str) -> None:
        """Forget a run's checkpoint and its writes: it has ended, or is to begin again."""

        def remove(connection: Connection) -> None:
            connection.execute(delete(CheckpointRow).where(col(CheckpointRow.run_id) == run_id))
            connection.execute(delete(CheckpointWriteRow).where(col(CheckpointWriteRow.run_id) == run_id))

        self.database.attempt(remove)

    def _put(self, put: Any, lease: Lease | None, transaction: Connection | None) -> None:
        write = under(lease, put)
        if transaction is None:
            # Without it, the run goes on from the one before, and finds its steps done.
            self.database.attempt(write, fleeting=True)
        else:
            write(transaction)


_OF_RUN = col(CheckpointWriteRow.run_id) == bindparam("run")
_OF_CHECKPOINT = col(CheckpointWriteRow.checkpoint_id) == bindparam("checkpoint")
_CHECKPOINT = Prepared(
    select(
        col(CheckpointRow.checkpoint_id),
        col(CheckpointRow.kind),
        col(CheckpointRow.data),
        col(CheckpointRow.about),
    ).where(col(CheckpointRow.run_id) == bindparam("run"))
)
_WRITES = Prepared(
    select(col(CheckpointWriteRow.task), col(CheckpointWriteRow.kind), col(CheckpointWriteRow.data))
    .where(_OF_RUN, _OF_CHECKPOINT)
    .order_by(col(CheckpointWriteRow.number), col(CheckpointWriteRow.task))
)
_LAST_WRITE = Prepared(select(func.max(col(CheckpointWriteRow.number))).where(_OF_RUN, _OF_CHECKPOINT))
_DELETE_OLD_WRITES = Prepared(
    delete(CheckpointWriteRow).where(
        _OF_RUN, col(CheckpointWriteRow.checkpoint_id) != bindparam("checkpoint")
    )
)
