"""Brings a database to what this version knows: tables, columns and indexes are added, nothing is ever taken away."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateColumn
from sqlmodel import SQLModel

from agentflow.store import tables


def bring_up(connection: Connection) -> None:
    """Add what a database of an earlier version, or a new one, lacks. The caller keeps others from doing the same."""
    ours = _our_tables()
    there = set(inspect(connection).get_table_names())
    SQLModel.metadata.create_all(connection, tables=[table for table in ours if table.name not in there])
    for table in ours:
        if table.name in there:
            _add_missing(connection, table)


def _add_missing(connection: Connection, table: Any) -> None:
    found = inspect(connection)
    there = {column["name"] for column in found.get_columns(table.name)}
    quote = connection.dialect.identifier_preparer.quote
    for column in table.columns:
        if column.name not in there:
            wanted = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {wanted}"))
    indexes = {index["name"] for index in found.get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in indexes:
            index.create(connection)


def _our_tables() -> list[Any]:
    return [
        row.__table__  # type: ignore[attr-defined]
        for row in vars(tables).values()
        if isinstance(row, type) and issubclass(row, SQLModel) and row is not SQLModel
    ]
