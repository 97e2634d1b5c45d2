"""What time it is: on this machine, and for all that share a database."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sqlalchemy import Connection, text

_SERVER_MS = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")


def now_ms() -> int:
    """Return the time as UTC milliseconds."""
    return time.time_ns() // 1_000_000


def shared_ms(connection: Connection) -> int:
    """Return the time as UTC milliseconds by the one clock of all that use the database.

    Machines that share a server may disagree about the time; leases and deadlines go by the server's.
    """
    if connection.dialect.name == "sqlite":
        return now_ms()
    return int(connection.execute(_SERVER_MS).scalar_one())


def moment(milliseconds: int) -> datetime:
    """Return UTC milliseconds as a time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
