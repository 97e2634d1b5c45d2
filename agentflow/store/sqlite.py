"""`SqliteFile`: the database of one machine, in one file."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from agentflow.core.errors import StorageError
from agentflow.store.database import BUSY_MS, Database
from agentflow.store.migration import bring_up
from agentflow.store.prepared import Prepared


class SqliteFile(Database):
    """Short transactions on one file that many processes may share.

    SQLite runs in WAL mode. A commit survives the death of the process at once; a commit that asks to be
    ``durable`` (``synchronous=FULL``) also survives a power cut, for the price of an fsync.
    """

    _errors = (SQLAlchemyError, sqlite3.Error)

    def __init__(self, path: Path, *, busy_ms: int = BUSY_MS) -> None:
        super().__init__()
        self.path, self.name = path, str(path)
        self._busy_s = busy_ms / 1000
        # One writer at a time within the process: SQLite's own waiting polls, a lock does not.
        self._writing = threading.Lock()
        self._standing: Connection | None = None
        self._raw: Any = None
        self._mode = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError("the project's database", str(path), error) from error
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": self._busy_s})
        _speak_sqlite(self._engine, self._busy_s)
        with self.write() as connection:
            bring_up(connection)

    def write(self, *, durable: bool = False, fleeting: bool = False) -> _Write:
        """Open a transaction that holds the write lock from its start; none costs less than a ``fleeting`` one."""
        return _Write(self, "full" if durable else "normal")

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """Open a connection whose statements all see the same state."""
        try:
            with self._engine.connect() as connection:
                connection.begin()
                yield connection
        except self._errors as error:
            raise self.error("a lock to read it", error) from error

    def error(self, what: str, cause: BaseException) -> StorageError:
        """Return the error that says what the file refused."""
        return StorageError(what, self.name, getattr(cause, "orig", None) or cause)

    def close(self) -> None:
        """Close all connections."""
        self._forget_writer()
        super().close()

    def alone(self, statement: Prepared, values: Mapping[str, Any]) -> bool:
        """Execute one statement that is a transaction by itself; return whether it changed a row."""
        connection = self._turn("normal")
        try:
            return statement.run(connection, values).rowcount > 0
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._end()

    def begin(self, mode: str) -> Connection:
        """Begin a transaction on the connection that all writing shares, as durable as ``mode`` says."""
        connection = self._turn(mode)
        try:
            self._raw.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            try:
                self._give_up(error)
            finally:
                self._end()
            raise
        return connection

    def _turn(self, mode: str) -> Connection:
        """Wait until nobody else in this process writes, and return the connection that all writing shares."""
        self._enter_write()
        if not self._writing.acquire(timeout=self._busy_s):
            self._leave_write()
            raise StorageError("a record", self.name, "another transaction of this process is open")
        try:
            return self._writer(mode)
        except BaseException as error:
            try:
                self._give_up(error)
            finally:
                self._end()
            raise

    def commit(self) -> None:
        """Commit, and let others write."""
        try:
            if self._standing is not None and self._standing.in_transaction():
                self._standing.commit()
            else:
                self._raw.execute("COMMIT")
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            self._end()

    def rollback(self, cause: BaseException) -> None:
        """Undo what the transaction did, and let others write."""
        try:
            self._give_up(cause)
        finally:
            self._end()

    def _writer(self, mode: str) -> Connection:
        if self._standing is None:
            self._standing = self._engine.connect().execution_options(agentflow_writes=True)
            self._raw = self._standing.connection.dbapi_connection
        if mode != self._mode:
            self._raw.execute(f"PRAGMA synchronous={mode}")
            self._mode = mode
        return self._standing

    def _end(self) -> None:
        self._writing.release()
        self._leave_write()

    def _give_up(self, error: BaseException) -> None:
        """Undo what was begun, and say what the file refused."""
        self._forget_writer()
        if isinstance(error, self._errors):
            raise self.error("a record", error) from error

    def _forget_writer(self) -> None:
        standing, self._standing, self._raw, self._mode = self._standing, None, None, ""
        if standing is not None:
            standing.close()  # which rolls back


class _Write:
    """One write transaction. A class, since a generator costs as much as a statement."""

    def __init__(self, file: SqliteFile, mode: str) -> None:
        self._file, self._mode = file, mode

    def __enter__(self) -> Connection:
        return self._file.begin(self._mode)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is None:
            self._file.commit()
        else:
            self._file.rollback(error)
        return False


def _speak_sqlite(engine: Engine, busy_s: float) -> None:
    @event.listens_for(engine, "connect")
    def _connected(raw: Any, _record: Any) -> None:
        # The driver must not open transactions by itself: we do.
        raw.isolation_level = None
        _write_ahead(raw, busy_s)
        # What a statement sorts or returns stays in memory; the log is carried into the file every 16 MB, not every 4.
        raw.execute("PRAGMA temp_store=MEMORY")
        raw.execute("PRAGMA wal_autocheckpoint=4000")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if "agentflow_writes" not in connection.get_execution_options():
            connection.connection.cursor().execute("BEGIN")


def _write_ahead(raw: Any, busy_s: float) -> None:
    """Put the file into WAL mode. While another process does the same, SQLite says locked without waiting."""
    deadline = time.monotonic() + busy_s
    while raw.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
