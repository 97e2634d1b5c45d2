"""`Database`: short transactions, and errors that name where the records lie.

Everything above speaks SQLAlchemy without a dialect; what is particular to one database is in `sqlite` and
`postgresql`.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from agentflow.core.errors import StorageError
from agentflow.store.prepared import Prepared

BUSY_MS = 10_000
_ATTEMPTS = 5
_PAUSE_S = 0.05

_T = TypeVar("_T")


class Database(ABC):
    """One database that many processes may share. ``name`` says which in messages, without any password."""

    name: str
    _engine: Engine
    _errors: tuple[type[Exception], ...]

    def __init__(self) -> None:
        self._in_write = threading.local()

    @abstractmethod
    def write(self, *, durable: bool = False, fleeting: bool = False) -> AbstractContextManager[Connection]:
        """Open a write transaction; an exception rolls it back.

        Keep it short: nothing that waits, no ``await``, no second one inside it.

        Args:
            durable: the commit survives a power cut, too.
            fleeting: a power cut may take the commit: what is written can be had again. Never both.

        Raises:
            StorageError: the database is locked, corrupt, full or cannot be reached.
        """

    @abstractmethod
    def error(self, what: str, cause: BaseException) -> StorageError:
        """Return the error that says what the database refused."""

    def alone(self, statement: Prepared, values: Mapping[str, Any]) -> bool:
        """Execute one statement that is a transaction by itself; return whether it changed a row.

        A database in which that is no cheaper than a transaction, or not as safe, does nothing.
        """
        return False

    @abstractmethod
    def read(self, *, snapshot: bool = False) -> AbstractContextManager[Connection]:
        """Open a connection that reads what is committed, and takes no lock.

        Args:
            snapshot: all statements see the same state, not each what is committed when it begins.

        Raises:
            StorageError: the database is corrupt or cannot be read.
        """

    def attempt(
        self, work: Callable[[Connection], _T], *, durable: bool = False, fleeting: bool = False
    ) -> _T:
        """Do all of ``work`` in one write transaction, again where another one was in its way.

        Args:
            work: what to do; it changes nothing but the database.
            durable: as in `write`.
            fleeting: as in `write`.
        """
        for left in reversed(range(_ATTEMPTS)):
            try:
                with self.write(durable=durable, fleeting=fleeting) as connection:
                    return work(connection)
            except StorageError as error:
                if not error.passing or not left:
                    raise
            time.sleep(random.uniform(0.001, _PAUSE_S))  # the other one goes first
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _enter_write(self) -> None:
        """Refuse a write transaction within another one of this thread: it would wait for itself."""
        if getattr(self._in_write, "held", False):
            raise StorageError("a record", self.name, "another transaction of this process is open")
        self._in_write.held = True

    def _leave_write(self) -> None:
        self._in_write.held = False


def insert_new(connection: Connection, table: type[SQLModel], row: dict[str, Any]) -> bool:
    """Insert a row unless its key is there; return whether it was inserted."""
    kept = {"preserve_rowcount": True}
    made = connection.execute(_insert_new(table, connection.dialect.name), row, execution_options=kept)
    return made.rowcount == 1


def insert_all_new(connection: Connection, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose keys are not there yet."""
    if rows:
        connection.execute(_insert_new(table, connection.dialect.name), rows)


@cache
def insert_new_prepared(table: type[SQLModel], dialect: str) -> Prepared:
    """Return the insert of one whole row whose key is not there yet, for the hot path."""
    return Prepared(_insert_new(table, dialect), [column.name for column in columns(table)])


@cache
def upsert_prepared(table: type[SQLModel], dialect: str) -> Prepared:
    """Return the insert of one whole row that replaces the one with its key."""
    statement = insert_for(dialect)(table)
    keys = [column.name for column in columns(table) if column.primary_key]
    others = {
        column.name: statement.excluded[column.name] for column in columns(table) if not column.primary_key
    }
    replacing = statement.on_conflict_do_update(index_elements=keys, set_=others)
    return Prepared(replacing, [column.name for column in columns(table)])


@cache
def _insert_new(table: type[SQLModel], dialect: str) -> Any:
    return insert_for(dialect)(table).on_conflict_do_nothing()


def insert_for(dialect: str) -> Any:
    """Return the dialect's own ``insert``, which knows about conflicts."""
    return (postgresql if dialect == "postgresql" else sqlite).insert


def columns(table: type[SQLModel]) -> list[Any]:
    """Return a table's columns."""
    return list(table.__table__.columns)  # type: ignore[attr-defined]
