"""Which runs a worker may take."""

from __future__ import annotations

from itertools import islice
from typing import Any

from sqlalchemy import and_, or_
from sqlmodel import col

from agentflow.core.records import RunStatus
from agentflow.store.approvals import nothing_to_wait_for
from agentflow.store.clock import shared_ms
from agentflow.store.database import Database
from agentflow.store.leases import STANDING, is_free
from agentflow.store.tables import RunRow

TO_DO = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)
"""How a run stands on which a worker may go on."""


class Queue:
    """What the store knows about work that nobody does."""

    database: Database

    def claimable_runs(self, limit: int = 50) -> list[str]:
        """Return runs that a worker may claim, oldest first.

        These are runs in the queue; runs whose process is surely dead, or let its lease run out; and waiting runs
        for which everything is decided, whose time to decide is over, or that somebody asked to end.
        """
        with self.database.read() as connection:
            now = shared_ms(connection)
            found = connection.execute(STANDING.where(_to_do(now)).order_by(*_OLDEST_FIRST))
            return list(islice((row.id for row in found if is_free(row, now)), limit))


_OLDEST_FIRST = (col(RunRow.started_ms), col(RunRow.id))


def _to_do(now: int) -> Any:
    waits = col(RunRow.status) == RunStatus.WAITING.value
    asked_to_end = col(RunRow.cancel_requested) == 1
    return or_(
        col(RunRow.status).in_([RunStatus.QUEUED.value, RunStatus.RUNNING.value]),
        and_(waits, or_(asked_to_end, nothing_to_wait_for(now))),
    )
