"""The rows of runs: what was asked, where each stands, how it ended."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import col

from agentflow.core.errors import InvalidInputError, UnknownNameError
from agentflow.core.records import RunStatus
from agentflow.store.clock import moment, now_ms
from agentflow.store.database import Database, columns, insert_new
from agentflow.store.leases import LEASE_MS, Lease, new_lease, run_ids, under
from agentflow.store.records import RunRecord
from agentflow.store.tables import RunRow


class Runs:
    """What the store knows about runs."""

    database: Database

    def create_run(
        self,
        run_id: str,
        workflow: str,
        digest: str,
        inputs: dict[str, Any],
        *,
        seed: int = 0,
        trace_path: str | None = None,
        status: RunStatus = RunStatus.RUNNING,
        claim: bool = True,
        ttl_ms: int = LEASE_MS,
        reused_from: str | None = None,
    ) -> Lease | None:
        """Write down that a run has begun, or waits in the queue for a worker.

        Args:
            run_id: its id.
            workflow: what it runs.
            digest: of the workflow as it was read.
            inputs: what it was asked with.
            seed: of all that is random in it.
            trace_path: where its trace lies.
            status: where it stands.
            claim: take it for this process at the same moment.
            ttl_ms: for how long, unless the lease is renewed.
            reused_from: the run whose steps it takes over.

        Returns:
            The lease, where it was claimed.

        Raises:
            InvalidInputError: the id is taken.
        """
        row = {
            "id": run_id,
            "workflow": workflow,
            "digest": digest,
            "inputs": as_text(inputs),
            "seed": seed,
            "status": status.value,
            "started_ms": now_ms(),
            "trace_path": trace_path,
            "reused_from": reused_from,
        }

        def create(connection: Connection) -> Lease | None:
            lease, held = new_lease(connection, run_id, 1, ttl_ms) if claim else (None, {})
            if not insert_new(connection, RunRow, row | held):
                raise InvalidInputError("run id", f"'{run_id}', which is taken", "an id that no run has yet")
            return lease

        return self.database.attempt(create)

    def mark_run(self, run_id: str, status: RunStatus, *, lease: Lease | None = None) -> None:
        """Write down that a run waits, or is at work again."""
        self._update_run(run_id, {"status": status.value, "ended_ms": None}, lease)

    def finish_run(
        self,
        run_id: str,
        status: RunStatus,
        *,
        outputs: Any = None,
        error: BaseException | None = None,
        manifest: dict[str, Any] | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Write down how a run ended; whoever asked to cancel it has been heard."""
        values = {
            "status": status.value,
            "ended_ms": now_ms(),
            "outputs": None if outputs is None else as_text(outputs),
            "error": None if error is None else str(error).replace("\0", "�"),
            "error_kind": None if error is None else getattr(error, "kind", type(error).__name__),
            "manifest": None if manifest is None else as_text(manifest),
            "cancel_requested": 0,
        }
        self._update_run(run_id, values, lease)

    def get_run(self, run_id: str) -> RunRecord:
        """Return a run.

        Raises:
            UnknownNameError: no run has this id.
        """
        with self.database.read() as connection:
            row = connection.execute(_RUN_BY_ID, {"run_id": run_id}).mappings().first()
            if row is None:
                raise UnknownNameError("run", run_id, run_ids(connection))
        return _run(row)

    def list_runs(self, *, limit: int = 50, workflow: str | None = None) -> list[RunRecord]:
        """Return the newest runs first."""
        query = select(*columns(RunRow)).order_by(col(RunRow.started_ms).desc(), col(RunRow.id).desc())
        if workflow is not None:
            query = query.where(col(RunRow.workflow) == workflow)
        with self.database.read() as connection:
            return [_run(row) for row in connection.execute(query.limit(limit)).mappings()]

    def _update_run(self, run_id: str, values: dict[str, Any], lease: Lease | None) -> None:
        def change(connection: Connection) -> None:
            if not connection.execute(update(RunRow).where(col(RunRow.id) == run_id).values(values)).rowcount:
                raise UnknownNameError("run", run_id, run_ids(connection))

        self.database.attempt(under(lease, change))


def as_text(value: Any) -> str:
    """Return the JSON that a row keeps.

    NaN stays readable: the record of a run that was refused for a NaN must still be written.
    """
    return json.dumps(value, ensure_ascii=False, default=str)


_RUN_BY_ID = select(*columns(RunRow)).where(col(RunRow.id) == bindparam("run_id"))


def _run(row: Any) -> RunRecord:
    fields = {name: value for name, value in row.items() if not name.endswith("_ms")}
    for name in ("inputs", "outputs", "manifest"):
        fields[name] = None if row[name] is None else json.loads(row[name])
    fields["started"] = moment(row["started_ms"])
    fields["ended"] = None if row["ended_ms"] is None else moment(row["ended_ms"])
    fields["lease_until"] = moment(row["lease_until_ms"]) if row["owner"] else None
    return RunRecord(**fields)
