"""`Prepared`: a statement of the hot path, compiled once and handed to the driver as text.

SQLAlchemy's own execution costs several times what SQLite needs for a row; its compiler still writes the SQL, for
whatever dialect the connection speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ClauseElement


class Prepared:
    """One statement whose values are texts, integers and NULL, which no driver has to have converted.

    Args:
        statement: with named parameters.
        columns: of an insert: those that it fills.
    """

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        self._statement, self._columns = statement, columns
        self._compiled: dict[str, tuple[str, list[str] | None]] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> DBAPICursor:
        """Execute within the transaction that the connection is in, and return the driver's cursor."""
        text, order = self._compiled.get(connection.dialect.name) or self._compile(connection)
        driver: Any = connection.connection.dbapi_connection
        cursor: DBAPICursor = driver.execute(
            text, values if order is None else [values[name] for name in order]
        )
        return cursor

    def _compile(self, connection: Connection) -> tuple[str, list[str] | None]:
        if not isinstance(self._statement, ClauseElement):
            raise TypeError(f"{self._statement} has no text")
        compiled: Any = self._statement.compile(dialect=connection.dialect, column_keys=self._columns)
        made = str(compiled), list(compiled.positiontup) if compiled.positional else None
        self._compiled[connection.dialect.name] = made
        return made
