"""Brings a database to what this version knows: tables, columns and indexes are added, nothing is ever taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateColumn
from sqlmodel import SQLModel

from agentflow.store import tables


def bring_up(connection: Connection) -> None:
    """Add what a database of an earlier version, or a new one, lacks. The caller keeps others from doing the same."""
    ours = _our_tables()
    names = [table.name for table in ours]
    # Each of these is one query for all tables: opening a database that lacks nothing costs no more.
    found = inspect(connection)
    columns = _names_by_table(found.get_multi_columns(filter_names=names))
    indexes = _names_by_table(found.get_multi_indexes(filter_names=names))
    new = [table for table in ours if table.name not in columns]
    SQLModel.metadata.create_all(connection, tables=new, checkfirst=False)
    for table in ours:
        if table.name in columns:
            _add_missing(connection, table, columns[table.name], indexes[table.name])


def _names_by_table(found: Mapping[Any, Any]) -> dict[str, set[str]]:
    return {table: {part["name"] for part in parts} for (_, table), parts in found.items()}


def _add_missing(connection: Connection, table: Any, columns: set[str], indexes: set[str]) -> None:
    quote = connection.dialect.identifier_preparer.quote
    for column in table.columns:
        if column.name not in columns:
            wanted = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {wanted}"))
    for index in table.indexes:
        if index.name not in indexes:
            index.create(connection)


def _our_tables() -> list[Any]:
    return [
        row.__table__  # type: ignore[attr-defined]
        for row in vars(tables).values()
        if isinstance(row, type) and issubclass(row, SQLModel) and row is not SQLModel
    ]
