"""The one database file: connections, durability, and errors that name the path.

Everything above speaks SQLAlchemy without a dialect; what is particular to SQLite is in this file.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from agentflow.core.errors import StorageError
from agentflow.store import tables
from agentflow.store.prepared import Prepared

BUSY_MS = 10_000


class Database:
    """Short transactions on one file that many processes may share.

    SQLite runs in WAL mode. A commit survives the death of the process at once; a commit that asks to be
    ``durable`` (``synchronous=FULL``) also survives a power cut, for the price of an fsync.
    """

    def __init__(self, path: Path, *, busy_ms: int = BUSY_MS) -> None:
        self.path = path
        self._busy_s = busy_ms / 1000
        # One writer at a time within the process: SQLite's own waiting polls, a lock does not.
        self._writing = threading.Lock()
        self._standing: Connection | None = None
        self._mode = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError("the project's database", str(path), error) from error
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": self._busy_s})
        _speak_sqlite(self._engine, self._busy_s)
        with self.write() as connection:
            SQLModel.metadata.create_all(connection, tables=_our_tables())

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """Open a transaction that holds the write lock from its start; an exception rolls it back.

        Keep it short: nothing that waits, no ``await``, no second one inside it.

        Raises:
            StorageError: the file is locked, corrupt, full or cannot be written.
        """
        with self._errors("a record"), self._turn():
            try:
                connection = self._writer("full" if durable else "normal")
                with connection.begin():
                    yield connection
            except BaseException:
                self._forget_writer()
                raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection that reads one consistent snapshot and takes no lock.

        Raises:
            StorageError: the file is corrupt or cannot be read.
        """
        with self._errors("a lock to read it"), self._engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._forget_writer()
        self._engine.dispose()

    def _writer(self, mode: str) -> Connection:
        """Return the connection that all writing shares, whose commits are as durable as ``mode`` says."""
        if self._standing is None:
            self._standing = self._engine.connect().execution_options(agentflow_writes=True)
        if mode != self._mode:
            self._standing.connection.cursor().execute(f"PRAGMA synchronous={mode}")
            self._mode = mode
        return self._standing

    def _forget_writer(self) -> None:
        standing, self._standing, self._mode = self._standing, None, ""
        if standing is not None:
            standing.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._writing.acquire(timeout=self._busy_s):
            raise StorageError("a record", str(self.path), "another transaction of this process is open")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StorageError(what, str(self.path), getattr(error, "orig", None) or error) from error


def insert_new(connection: Connection, table: type[SQLModel], rows: list[dict[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; return how many that were."""
    if not rows:
        return 0
    return connection.execute(_insert_new(table, connection.dialect.name), rows).rowcount


@cache
def insert_new_prepared(table: type[SQLModel], dialect: str) -> Prepared:
    """Return the insert of one whole row whose key is not there yet, for the hot path."""
    return Prepared(_insert_new(table, dialect), [column.name for column in _columns(table)])


@cache
def _insert_new(table: type[SQLModel], dialect: str) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table).on_conflict_do_nothing()


def _columns(table: type[SQLModel]) -> list[Any]:
    return list(table.__table__.columns)  # type: ignore[attr-defined]


def _our_tables() -> list[Any]:
    return [
        row.__table__  # type: ignore[attr-defined]
        for row in vars(tables).values()
        if isinstance(row, type) and issubclass(row, SQLModel) and row is not SQLModel
    ]


def _speak_sqlite(engine: Engine, busy_s: float) -> None:
    @event.listens_for(engine, "connect")
    def _connected(raw: Any, _record: Any) -> None:
        # The driver must not open transactions by itself: BEGIN IMMEDIATE below does.
        raw.isolation_level = None
        _write_ahead(raw, busy_s)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = "agentflow_writes" in connection.get_execution_options()
        connection.connection.cursor().execute("BEGIN IMMEDIATE" if writes else "BEGIN")


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
