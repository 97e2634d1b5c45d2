"""The rows of the budget ledger. What may be booked, and why, is decided in `agentflow.budget`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, insert, literal_column, select, update
from sqlmodel import col

from agentflow.core.amounts import DIMENSIONS, Amounts
from agentflow.store.database import insert_new
from agentflow.store.prepared import Prepared
from agentflow.store.tables import HoldRow, ScopeRow


@dataclass(frozen=True)
class Scope:
    """What stands in a scope's row."""

    id: str
    parent: str | None
    cap: Amounts
    held: Amounts
    spent: Amounts

    @property
    def left(self) -> Amounts:
        """What may still be reserved here."""
        return self.cap.minus(self.held).minus(self.spent)


@dataclass(frozen=True)
class StoredHold:
    """What stands in a hold's row."""

    id: str
    key: str
    scope: str
    owner: str
    state: str
    reserved: Amounts
    booked: Amounts | None
    overrun: Amounts | None


def lock_tree(connection: Connection, root: str) -> None:
    """Keep all other bookings under a root out until the transaction ends.

    Whoever books locks the root before any other row, so no two of them wait for each other. SQLite has one writer.
    """
    if connection.dialect.name != "sqlite":
        _LOCK_SCOPE.run(connection, {"root": root})


def insert_scope(connection: Connection, scope: str, parent: str | None, cap: Amounts) -> bool:
    """Insert a scope; return False where it is there already."""
    zeros = {f"{part}_{name}": 0 for part in ("held", "spent") for name in DIMENSIONS}
    row = {"id": scope, "parent": parent, **_named("cap", cap), **zeros}
    return insert_new(connection, ScopeRow, row)


def set_cap(connection: Connection, scope: str, cap: Amounts) -> None:
    """Replace a scope's caps."""
    connection.execute(update(ScopeRow).where(col(ScopeRow.id) == scope).values(_named("cap", cap)))


def read_scope(connection: Connection, scope: str) -> Scope | None:
    """Return a scope, or None where there is none of this name."""
    row = connection.execute(_SCOPE_BY_ID, {"scope": scope}).mappings().first()
    return None if row is None else _scope(row)


def scope_names(connection: Connection) -> list[str]:
    """Return the first names of scopes, for a message."""
    return list(connection.execute(select(col(ScopeRow.id)).order_by(col(ScopeRow.id)).limit(20)).scalars())


def hold_in_scopes(connection: Connection, scopes: Sequence[str], amounts: Amounts) -> set[str]:
    """Hold amounts in each of ``scopes`` that has room in every dimension; return which those are.

    Where one of them had no room, the caller must roll back.
    """
    return _take(connection, "held", scopes, amounts)


def book_in_scopes(connection: Connection, scopes: Sequence[str], reserved: Amounts, booked: Amounts) -> None:
    """Turn what was reserved in ``scopes`` into what is booked as spent."""
    freed, spent = _above_zero(reserved), _above_zero(booked)
    if freed or spent:
        values = {**_scope_ids(scopes), **_named("free", reserved), **_named("book", booked)}
        _book_statement(len(scopes), freed, spent).run(connection, values)


def spend_in_scopes(connection: Connection, scopes: Sequence[str], booked: Amounts) -> bool:
    """Book amounts that were not held, where all of ``scopes`` have room; else change nothing."""
    spent = _take(connection, "spent", scopes, booked)
    if len(spent) == len(scopes):
        return True
    if spent:
        undo = {f"book_{name}": -value for name, value in booked.as_dict().items()}
        values = {**_scope_ids(list(spent)), **undo}
        _book_statement(len(spent), (), _above_zero(booked)).run(connection, values)
    return False


def insert_hold(
    connection: Connection, hold_id: str, key: str, scope: str, owner: str, reserved: Amounts, taken_ms: int
) -> None:
    """Insert an open hold."""
    _INSERT_HOLD.run(
        connection,
        {
            "id": hold_id,
            "key": key,
            "scope": scope,
            "owner": owner,
            "state": "held",
            "reserved": reserved.model_dump_json(),
            "taken_ms": taken_ms,
        },
    )


def read_hold(connection: Connection, hold_id: str) -> StoredHold | None:
    """Return a hold by its id."""
    row = connection.execute(_HOLD_BY_ID, {"hold_id": hold_id}).first()
    return None if row is None else _hold(row)


def read_open_hold(connection: Connection, key: str) -> StoredHold | None:
    """Return the open hold of a key."""
    row = _OPEN_HOLD_BY_KEY.run(connection, {"hold_key": key}).fetchone()
    return None if row is None else read_hold(connection, row[0])


def close_hold(
    connection: Connection, hold_id: str, state: str, booked: Amounts, overrun: Amounts, closed_ms: int
) -> bool:
    """Close an open hold; return False where it was closed before."""
    values = {
        "hold_id": hold_id,
        "new_state": state,
        "now_booked": booked.model_dump_json(),
        "now_overrun": overrun.model_dump_json(),
        "now_ms": closed_ms,
    }
    return _CLOSE_HOLD.run(connection, values).rowcount == 1


def open_holds_below(connection: Connection, scope: str, *, not_of: str) -> list[StoredHold]:
    """Return the open holds of a scope and all scopes below it that ``not_of`` does not own."""
    below = select(col(ScopeRow.id)).where(col(ScopeRow.id) == scope).cte("below", recursive=True)
    below = below.union_all(select(col(ScopeRow.id)).where(col(ScopeRow.parent) == below.c.id))
    query = (
        select(*HoldRow.__table__.columns)  # type: ignore[attr-defined]
        .where(col(HoldRow.scope).in_(select(below.c.id)))
        .where(col(HoldRow.state) == "held", col(HoldRow.owner) != not_of)
        .order_by(col(HoldRow.taken_ms), col(HoldRow.id))
    )
    return [_hold(row) for row in connection.execute(query)]


_SCOPE_BY_ID = select(*ScopeRow.__table__.columns).where(  # type: ignore[attr-defined]
    col(ScopeRow.id) == bindparam("scope")
)
_LOCK_SCOPE = Prepared(
    select(col(ScopeRow.id)).where(col(ScopeRow.id) == bindparam("root")).with_for_update()
)
# Written out: only so does the database see that its index of open holds serves.
_HELD: Any = literal_column("'held'")
_INSERT_HOLD = Prepared(insert(HoldRow), ("id", "key", "scope", "owner", "state", "reserved", "taken_ms"))
_HOLDS = select(*HoldRow.__table__.columns)  # type: ignore[attr-defined]
_HOLD_BY_ID = _HOLDS.where(col(HoldRow.id) == bindparam("hold_id"))
_OPEN_HOLD_BY_KEY = Prepared(
    select(col(HoldRow.id)).where(col(HoldRow.key) == bindparam("hold_key"), col(HoldRow.state) == _HELD)
)
_CLOSE_HOLD = Prepared(
    update(HoldRow)
    .where(col(HoldRow.id) == bindparam("hold_id"), col(HoldRow.state) == _HELD)
    .values(
        state=bindparam("new_state"),
        booked=bindparam("now_booked"),
        overrun=bindparam("now_overrun"),
        closed_ms=bindparam("now_ms"),
    )
)


def _column(part: str, name: str) -> Any:
    return getattr(ScopeRow, f"{part}_{name}")


def _take(connection: Connection, part: str, scopes: Sequence[str], amounts: Amounts) -> set[str]:
    dimensions = _above_zero(amounts)
    if not dimensions:
        return set(scopes)
    values = {**_scope_ids(scopes), **_named("take", amounts)}
    statement = _take_statement(part, len(scopes), dimensions)
    return {name for (name,) in statement.run(connection, values).fetchall()}


def _above_zero(amounts: Amounts) -> tuple[str, ...]:
    return tuple(name for name, value in amounts.as_dict().items() if value)


# Each is built once for each length of a chain and each set of dimensions: building costs more than running, and the
# database checks only the dimensions that change.
@cache
def _take_statement(part: str, scopes: int, dimensions: tuple[str, ...]) -> Prepared:
    statement = _update_scopes(scopes)
    for name in dimensions:
        take: Any = bindparam(f"take_{name}")
        # cap - held - spent never overflows 64 bits; held + spent + take could.
        room = _column("cap", name) - _column("held", name) - _column("spent", name)
        statement = statement.where(room >= take).values({f"{part}_{name}": _column(part, name) + take})
    return Prepared(statement.returning(col(ScopeRow.id)))


@cache
def _book_statement(scopes: int, freed: tuple[str, ...], booked: tuple[str, ...]) -> Prepared:
    statement = _update_scopes(scopes)
    for name in freed:
        statement = statement.values({f"held_{name}": _column("held", name) - bindparam(f"free_{name}")})
    for name in booked:
        statement = statement.values({f"spent_{name}": _column("spent", name) + bindparam(f"book_{name}")})
    return Prepared(statement)


def _update_scopes(scopes: int) -> Any:
    return update(ScopeRow).where(col(ScopeRow.id).in_([bindparam(f"scope_{i}") for i in range(scopes)]))


def _scope_ids(scopes: Sequence[str]) -> dict[str, str]:
    return {f"scope_{i}": scope for i, scope in enumerate(scopes)}


def _named(part: str, amounts: Amounts) -> dict[str, int]:
    return {f"{part}_{name}": value for name, value in amounts.as_dict().items()}


def _scope(row: Any) -> Scope:
    parts = {
        part: Amounts(**{name: row[f"{part}_{name}"] for name in DIMENSIONS})
        for part in ("cap", "held", "spent")
    }
    return Scope(id=row["id"], parent=row["parent"], **parts)


def _hold(row: Any) -> StoredHold:
    return StoredHold(
        id=row.id,
        key=row.key,
        scope=row.scope,
        owner=row.owner,
        state=row.state,
        reserved=Amounts.model_validate_json(row.reserved),
        booked=None if row.booked is None else Amounts.model_validate_json(row.booked),
        overrun=None if row.overrun is None else Amounts.model_validate_json(row.overrun),
    )
