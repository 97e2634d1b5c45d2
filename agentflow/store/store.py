"""`Store`: the records of one project."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection

from agentflow.store.approvals import Approvals
from agentflow.store.checkpoints import Checkpoints
from agentflow.store.clock import now_ms
from agentflow.store.database import BUSY_MS, Database
from agentflow.store.leases import Lease, Leases, check_lease, under
from agentflow.store.postgresql import PostgresqlServer
from agentflow.store.queue import Queue
from agentflow.store.runs import Runs
from agentflow.store.sqlite import SqliteFile
from agentflow.store.steps import Steps, step_key

__all__ = ["DATABASE_NAME", "DATABASE_VARIABLE", "Store", "now_ms", "step_key"]

DATABASE_NAME = "agentflow.db"
DATABASE_VARIABLE = "DATABASE_URL"
"""Where it is set, the records of projects are on that PostgreSQL server instead of in a file of each."""

_T = TypeVar("_T")


class Store(Runs, Leases, Queue, Steps, Approvals, Checkpoints):
    """One project's records, in ``<folder>/agentflow.db`` or on a PostgreSQL server.

    Every method is one short transaction. What must happen together takes part in one `transaction`::

        with store.transaction(lease=lease) as transaction:
            settlement = ledger.settle(hold, actual, transaction)
            store.record_step(..., transaction=transaction)

    Raises:
        StorageError: any method, where the database is locked, corrupt, full or cannot be reached.
        LeaseLostError: any method that is given a lease which another process's claim has ended.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, folder: Path, url: str | None = None, *, busy_ms: int = BUSY_MS) -> Self:
        """Open the store of a project, creating what is missing.

        Args:
            folder: where the database file lies (usually ``.agentflow``).
            url: of a PostgreSQL server, as SQLAlchemy or libpq write it; without one, the file is used.
            busy_ms: how long to wait for another process that writes.
        """
        if url is not None:
            return cls(PostgresqlServer(url, busy_ms=busy_ms))
        return cls(SqliteFile(folder / DATABASE_NAME, busy_ms=busy_ms))

    @classmethod
    def of_project(cls, folder: Path, url: str | None = None) -> Self:
        """Open a project's store where it is: at ``url``, at what ``DATABASE_URL`` says, or in ``folder``."""
        return cls.open(folder, url or os.environ.get(DATABASE_VARIABLE))

    def close(self) -> None:
        """Close all connections."""
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

    def attempt(
        self, work: Callable[[Connection], _T], *, durable: bool = False, lease: Lease | None = None
    ) -> _T:
        """Do all of ``work`` in one `transaction`, again where another one was in its way.

        Args:
            work: what to do; it changes nothing but the database.
            durable: its commit survives a power cut.
            lease: the right to write for a run.
        """
        return self.database.attempt(under(lease, work), durable=durable)

    @contextmanager
    def _leased(self, lease: Lease, durable: bool) -> Iterator[Connection]:
        with self.database.write(durable=durable) as connection:
            check_lease(connection, lease)
            yield connection
