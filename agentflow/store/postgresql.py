"""`PostgresqlServer`: the database of several machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from agentflow.core.errors import InvalidInputError, MissingExtraError, StorageError
from agentflow.store.database import BUSY_MS, Database
from agentflow.store.migration import bring_up

_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
_CONNECT_S = 10
# The first statement shows whether the server still knows the connection. A transaction is begun and ended by us:
# the driver forgets all prepared statements at every rollback, and that is how SQLAlchemy ends what only read.
_PING = ""
_BEGIN = "BEGIN"
_BEGIN_FLEETING = "BEGIN; SET LOCAL synchronous_commit TO off"
_BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# A client that stops within a transaction, or whose machine is gone, must not keep all others from their rows.
_IDLE_IN_TRANSACTION_MS = 30_000
# One project's processes bring its tables up one after another.
_BRINGING_UP = 0x6167656E74666C6F
# Another transaction was in the way: it could not be serialized, a deadlock was broken.
_PASSING = ("40001", "40P01")
_TODO = "Check that the server runs and can be reached, and that the address and the user's rights are right."
_PASSING_TODO = "Nothing of this transaction was written; the same may succeed the next time."


class PostgresqlServer(Database):
    """Short transactions on a server that many machines may share.

    Every commit is as durable as the server makes it. Rows are locked in one order everywhere: the run's, then
    the root of the budget scopes, then all others; so no two transactions wait for each other.

    Args:
        url: ``postgresql://user:password@host:port/database``, as SQLAlchemy or libpq write it.
        busy_ms: how long to wait for a row that another transaction has locked.

    Raises:
        InvalidInputError: the address is none of a PostgreSQL server.
        MissingExtraError: its driver is not installed.
        StorageError: the server cannot be reached, or refuses.
    """

    def __init__(self, url: str, *, busy_ms: int = BUSY_MS) -> None:
        super().__init__()
        try:
            import psycopg
        except ModuleNotFoundError as error:
            raise MissingExtraError("a PostgreSQL database", "postgres", "psycopg") from error
        self._errors = (SQLAlchemyError, psycopg.Error)
        address = _parsed(url)
        self.name = f"postgresql://{address.host or ''}{_port(address)}/{address.database or ''}"
        self._password = str(address.password or "")
        limit = {} if "connect_timeout" in address.query else {"connect_timeout": _CONNECT_S}
        self._engine = create_engine(
            address,
            connect_args=limit,
            isolation_level="AUTOCOMMIT",
            pool_use_lifo=True,
            hide_parameters=True,
        )
        self._driver_error = psycopg.Error
        event.listen(self._engine, "connect", _limits(busy_ms))
        with self.write() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_BRINGING_UP})"))
            bring_up(connection)

    @contextmanager
    def write(self, *, durable: bool = False, fleeting: bool = False) -> Iterator[Connection]:
        """Open a transaction; the server makes every commit durable but a ``fleeting`` one."""
        self._enter_write()
        try:
            with self._opened(_BEGIN_FLEETING if fleeting else _BEGIN) as connection:
                yield connection
                _driver(connection).commit()
        except self._errors as error:
            raise self.error("a record", error) from error
        finally:
            self._leave_write()

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """Open a connection that takes no lock."""
        try:
            with self._opened(_BEGIN_SNAPSHOT if snapshot else _PING) as connection:
                yield connection
                _driver(connection).commit()
        except self._errors as error:
            raise self.error("reading records", error) from error

    def _opened(self, first: str) -> Connection:
        """Return a connection on which ``first`` was done; those that the server has dropped are forgotten."""
        try:
            return self._begun(first)
        except self._driver_error:
            self._engine.dispose()
            return self._begun(first)

    def _begun(self, first: str) -> Connection:
        connection = self._engine.connect()
        try:
            _driver(connection).execute(first, prepare=False)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        return connection

    def error(self, what: str, cause: BaseException) -> StorageError:
        """Return the error that says what the server refused, without the password."""
        original = getattr(cause, "orig", None) or cause
        said = " ".join(str(original).split())
        if self._password:
            said = said.replace(self._password, "***")
        passing = getattr(original, "sqlstate", None) in _PASSING
        return StorageError(what, self.name, said, _PASSING_TODO if passing else _TODO, passing=passing)

    def __repr__(self) -> str:
        return f"PostgresqlServer({self.name!r})"


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _parsed(url: str) -> URL:
    allowed = "postgresql://user:password@host:port/database"
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # Without its cause: that repeats the address, and the password may be in it.
        raise InvalidInputError("database address", "one that cannot be read", allowed) from None
    if address.drivername not in _SCHEMES:
        raise InvalidInputError("database address", f"'{address.drivername}://…'", allowed)
    return address.set(drivername="postgresql+psycopg")


def _port(address: URL) -> str:
    return "" if address.port is None else f":{address.port}"


def _limits(busy_ms: int) -> Any:
    def connected(raw: Any, _record: Any) -> None:
        raw.execute(f"SET lock_timeout = {int(busy_ms)}")
        raw.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_IN_TRANSACTION_MS}")
        raw.commit()

    return connected
