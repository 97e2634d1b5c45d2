"""Leases: a run belongs to one process at a time.

A claim raises the run's fence by one. Whoever writes for a run names its `Lease`, and nothing is written once the
row has another fence: a process that slept through its time and wakes up can do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import col

from agentflow.core.errors import LeaseLostError, RunHeldError, UnknownNameError
from agentflow.core.records import RunStatus
from agentflow.store.clock import shared_ms
from agentflow.store.database import Database
from agentflow.store.owner import Owner
from agentflow.store.prepared import Prepared
from agentflow.store.tables import RunRow

LEASE_MS = 15_000
_T = TypeVar("_T")

ENDED = frozenset(RunStatus) - {RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING}


@dataclass(frozen=True)
class Lease:
    """The right of one process to work on one run, until a claim with a higher ``fence``."""

    run_id: str
    owner: str
    fence: int


class Leases:
    """What the store knows about who works on which run. Times go by the database's clock."""

    database: Database

    def claim_run(self, run_id: str, *, fence: int | None = None, ttl_ms: int = LEASE_MS) -> Lease:
        """Take a run for this process, for ``ttl_ms`` milliseconds unless it is renewed.

        A dead owner's run can be taken at once where it died on this machine, else once its lease has run out.

        Args:
            run_id: the run.
            fence: of the run when it was looked at: whoever has claimed it since was faster, and may have ended it.
            ttl_ms: for how long.

        Raises:
            RunHeldError: it is another's, or this process's own already, or was since it was looked at.
            UnknownNameError: no run has this id.
        """
        return self.database.attempt(lambda connection: _claim(connection, run_id, fence, ttl_ms))

    def renew_leases(self, leases: Iterable[Lease], ttl_ms: int = LEASE_MS) -> list[Lease]:
        """Prolong leases to ``ttl_ms`` milliseconds from now; return those that are lost."""
        # One transaction each: nobody who waits for one row keeps another one locked.
        return [lease for lease in leases if not self._renew(lease, ttl_ms)]

    def release_run(self, lease: Lease) -> None:
        """Give a run back. A lease that is lost already is left alone."""
        free = _of_lease(lease).values(owner=None, lease_until_ms=0)
        self.database.attempt(lambda connection: connection.execute(free))

    def request_cancel(self, run_id: str) -> bool:
        """Ask whoever works on a run to end it; return False where it has ended.

        Raises:
            UnknownNameError: no run has this id.
        """

        def ask(connection: Connection) -> bool:
            found = connection.execute(_LOCKED, {"lease_run": run_id}).one_or_none()
            if found is None:
                raise UnknownNameError("run", run_id, run_ids(connection))
            if found.status in ENDED:
                return False
            connection.execute(update(RunRow).where(col(RunRow.id) == run_id).values(cancel_requested=1))
            return True

        return self.database.attempt(ask)

    def cancels_requested(self, run_ids: Collection[str]) -> set[str]:
        """Return those of the runs that somebody asked to end."""
        wanted = select(col(RunRow.id)).where(col(RunRow.id).in_(run_ids), col(RunRow.cancel_requested) == 1)
        with self.database.read() as connection:
            return set(connection.execute(wanted).scalars())

    def _renew(self, lease: Lease, ttl_ms: int) -> bool:
        def renew(connection: Connection) -> bool:
            now = shared_ms(connection)
            query = _of_lease(lease).values(lease_until_ms=now + ttl_ms, renewed_ms=now)
            return connection.execute(query).rowcount == 1

        return self.database.attempt(renew)


def check_lease(connection: Connection, lease: Lease) -> None:
    """Hold a transaction to a lease: whoever wants to take the run over waits until it is through.

    Raises:
        LeaseLostError: the run is another's by now.
    """
    found = _HOLDER.run(connection, {"lease_run": lease.run_id}).fetchone()
    if found is None or (found[0], found[1]) != (lease.owner, lease.fence):
        raise LeaseLostError(lease.run_id, "" if found is None else found[0] or "")


def under(lease: Lease | None, work: Callable[[Connection], _T]) -> Callable[[Connection], _T]:
    """Return ``work``, held to a lease where there is one."""
    if lease is None:
        return work

    def checked(connection: Connection) -> _T:
        check_lease(connection, lease)
        return work(connection)

    return checked


def new_lease(connection: Connection, run_id: str, fence: int, ttl_ms: int) -> tuple[Lease, dict[str, Any]]:
    """Return a lease for this process, and the columns that say so."""
    now = shared_ms(connection)
    owner = Owner.current().text
    columns = {"owner": owner, "fence": fence, "lease_until_ms": now + ttl_ms, "renewed_ms": now}
    return Lease(run_id, owner, fence), columns


def is_free(row: Any, now: int) -> bool:
    """Return whether nobody, or nobody who still lives, has a run's row."""
    if row.owner is None or row.lease_until_ms <= now:
        return True
    owner = Owner.parse(row.owner)
    return owner is not None and owner.surely_dead


def run_ids(connection: Connection) -> list[str]:
    """Return the first ids of runs, for a message."""
    return list(connection.execute(select(col(RunRow.id)).limit(20)).scalars())


STANDING = select(
    col(RunRow.id),
    col(RunRow.status),
    col(RunRow.owner),
    col(RunRow.fence),
    col(RunRow.lease_until_ms),
    col(RunRow.renewed_ms),
)
_LOCKED = STANDING.where(col(RunRow.id) == bindparam("lease_run")).with_for_update()
_HOLDER = Prepared(
    select(col(RunRow.owner), col(RunRow.fence))
    .where(col(RunRow.id) == bindparam("lease_run"))
    .with_for_update()
)


def _of_lease(lease: Lease) -> Any:
    return update(RunRow).where(
        col(RunRow.id) == lease.run_id, col(RunRow.owner) == lease.owner, col(RunRow.fence) == lease.fence
    )


def _claim(connection: Connection, run_id: str, fence: int | None, ttl_ms: int) -> Lease:
    found = connection.execute(_LOCKED, {"lease_run": run_id}).one_or_none()
    if found is None:
        raise UnknownNameError("run", run_id, run_ids(connection))
    if not is_free(found, shared_ms(connection)):
        raise RunHeldError(run_id, found.owner, found.lease_until_ms, found.renewed_ms)
    if fence is not None and fence != found.fence:
        raise RunHeldError(run_id, "", 0, found.renewed_ms)
    lease, columns = new_lease(connection, run_id, found.fence + 1, ttl_ms)
    connection.execute(update(RunRow).where(col(RunRow.id) == run_id).values(columns))
    return lease
