"""`Store`: the records of one project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Connection

from agentflow.store.clock import now_ms
from agentflow.store.database import BUSY_MS, Database
from agentflow.store.leases import Lease, Leases, check_lease
from agentflow.store.runs import Runs
from agentflow.store.sqlite import SqliteFile
from agentflow.store.steps import Steps, step_key

__all__ = ["DATABASE_NAME", "Store", "now_ms", "step_key"]

DATABASE_NAME = "agentflow.db"


class Store(Runs, Leases, Steps):
    """One project's records, in ``<folder>/agentflow.db``.

    Every method is one short transaction. What must happen together takes part in one `transaction`::

        with store.transaction(lease=lease) as transaction:
            settlement = ledger.settle(hold, actual, transaction)
            store.record_step(..., transaction=transaction)

    Raises:
        StorageError: any method, where the file is locked, corrupt, full or cannot be written.
        LeaseLostError: any method that is given a lease which another process's claim has ended.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, folder: Path, *, busy_ms: int = BUSY_MS) -> Self:
        """Open the store in ``folder`` (usually ``.agentflow``), creating what is missing.

        Args:
            folder: where the database file lies.
            busy_ms: how long to wait for another process that writes.
        """
        return cls(SqliteFile(folder / DATABASE_NAME, busy_ms=busy_ms))

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def transaction(
        self, *, durable: bool = False, lease: Lease | None = None
    ) -> AbstractContextManager[Connection]:
        """Open a write transaction; ``durable`` makes its commit survive a power cut.

        With a lease, nothing is written unless the run is still this process's, and it stays so to the end.
        """
        if lease is None:
            return self.database.write(durable=durable)
        return self._leased(lease, durable)

    @contextmanager
    def _leased(self, lease: Lease, durable: bool) -> Iterator[Connection]:
        with self.database.write(durable=durable) as connection:
            check_lease(connection, lease)
            yield connection
