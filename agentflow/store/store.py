"""`Store`: the runs, steps, verdicts, scores and artifacts of one project."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlmodel import SQLModel, col

from agentflow.core.errors import InvalidInputError, UnknownNameError
from agentflow.core.records import (
    Artifact,
    Envelope,
    GuardRecord,
    RunStatus,
    ScoreRecord,
    StepStatus,
    digest_of,
)
from agentflow.store.database import BUSY_MS, Database, insert_new, insert_new_prepared
from agentflow.store.prepared import Prepared
from agentflow.store.records import RunRecord, StepRecord
from agentflow.store.tables import ArtifactRow, RunArtifactRow, RunRow, ScoreRow, StepRow, VerdictRow

DATABASE_NAME = "agentflow.db"


def step_key(run_id: str, path: str, iteration: str, input_digest: str) -> str:
    """Return the key under which a step is finished once: same run, same place, same inputs.

    Args:
        run_id: the run.
        path: the step's place among the workflow's nodes, such as ``plan/2/simulate``.
        iteration: which pass of a loop or which item of a ``foreach``; empty outside of both.
        input_digest: the digest of the inputs that it is called with.
    """
    return digest_of([run_id, path, iteration, input_digest])


def now_ms() -> int:
    """Return the time as UTC milliseconds."""
    return time.time_ns() // 1_000_000


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _text(value: Any) -> str:
    # NaN stays readable: the record of a run that was refused for a NaN must still be written.
    return json.dumps(value, ensure_ascii=False, default=str)


class Store:
    """One project's records, in ``<folder>/agentflow.db``.

    Every method is one short transaction. What must happen together takes part in one `transaction`::

        with store.transaction() as transaction:
            settlement = ledger.settle(hold, actual, transaction)
            store.record_step(..., transaction=transaction)

    Raises:
        StorageError: any method, where the file is locked, corrupt, full or cannot be written.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, folder: Path, *, busy_ms: int = BUSY_MS) -> Self:
        """Open the store in ``folder`` (usually ``.agentflow``), creating what is missing.

        Args:
            folder: where the database file lies.
            busy_ms: how long to wait for another process that writes.
        """
        return cls(Database(folder / DATABASE_NAME, busy_ms=busy_ms))

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def transaction(self, *, durable: bool = False) -> AbstractContextManager[Connection]:
        """Open a write transaction; ``durable`` makes its commit survive a power cut."""
        return self.database.write(durable=durable)

    # Runs

    def create_run(
        self,
        run_id: str,
        workflow: str,
        digest: str,
        inputs: dict[str, Any],
        *,
        seed: int = 0,
        trace_path: str | None = None,
    ) -> None:
        """Write down that a run has begun.

        Raises:
            InvalidInputError: the id is taken.
        """
        row = {
            "id": run_id,
            "workflow": workflow,
            "digest": digest,
            "inputs": _text(inputs),
            "seed": seed,
            "status": RunStatus.RUNNING.value,
            "started_ms": now_ms(),
            "trace_path": trace_path,
        }
        with self.database.write() as connection:
            if not insert_new(connection, RunRow, [row]):
                raise InvalidInputError("run id", f"'{run_id}', which is taken", "an id that no run has yet")

    def mark_run(self, run_id: str, status: RunStatus) -> None:
        """Write down that a run waits, or is at work again."""
        self._update_run(run_id, {"status": status.value, "ended_ms": None})

    def finish_run(
        self,
        run_id: str,
        status: RunStatus,
        *,
        outputs: Any = None,
        error: BaseException | None = None,
        manifest: dict[str, Any] | None = None,
    ) -> None:
        """Write down how a run ended."""
        values = {
            "status": status.value,
            "ended_ms": now_ms(),
            "outputs": None if outputs is None else _text(outputs),
            "error": None if error is None else str(error),
            "error_kind": None if error is None else getattr(error, "kind", type(error).__name__),
            "manifest": None if manifest is None else _text(manifest),
        }
        self._update_run(run_id, values)

    def get_run(self, run_id: str) -> RunRecord:
        """Return a run.

        Raises:
            UnknownNameError: no run has this id.
        """
        with self.database.read() as connection:
            row = connection.execute(_RUN_BY_ID, {"run_id": run_id}).mappings().first()
            if row is None:
                raise UnknownNameError("run", run_id, self._ids(connection))
        return _run(row)

    def list_runs(self, *, limit: int = 50, workflow: str | None = None) -> list[RunRecord]:
        """Return the newest runs first."""
        query = select(*_columns(RunRow)).order_by(col(RunRow.started_ms).desc(), col(RunRow.id).desc())
        if workflow is not None:
            query = query.where(col(RunRow.workflow) == workflow)
        with self.database.read() as connection:
            return [_run(row) for row in connection.execute(query.limit(limit)).mappings()]

    def _update_run(self, run_id: str, values: dict[str, Any]) -> None:
        with self.database.write() as connection:
            if not connection.execute(update(RunRow).where(col(RunRow.id) == run_id).values(values)).rowcount:
                raise UnknownNameError("run", run_id, self._ids(connection))

    @staticmethod
    def _ids(connection: Connection) -> list[str]:
        return [row.id for row in connection.execute(select(col(RunRow.id)).limit(20))]

    # Steps

    def find_step(self, key: str) -> Envelope | None:
        """Return the outcome of a finished step, or None where it is not finished."""
        with self.database.read() as connection:
            row = _ENVELOPE_BY_KEY.run(connection, {"step": key}).fetchone()
        return None if row is None else Envelope.model_validate_json(row[0])

    def record_step(
        self,
        run_id: str,
        path: str,
        iteration: str,
        input_digest: str,
        envelope: Envelope,
        *,
        started_ms: int,
        transaction: Connection | None = None,
    ) -> bool:
        """Write a step with its verdicts, scores and artifacts; the first usable outcome of a key stays.

        A step that was only ``called`` (paid for, its result still to be guarded), or that failed, is
        replaced by what comes later.

        Args:
            run_id: the run; with the next three it makes the `step_key`.
            path: the step's place among the workflow's nodes.
            iteration: which pass of a loop or which item of a ``foreach``.
            input_digest: the digest of its inputs.
            envelope: its outcome.
            started_ms: when it began, as `now_ms` says it.
            transaction: the one to take part in; without it, the record is one of its own.

        Returns:
            Whether this call wrote it; False where the step stood finished, and nothing was changed.
        """
        if transaction is None:
            with self.transaction() as own:
                return self.record_step(
                    run_id, path, iteration, input_digest, envelope, started_ms=started_ms, transaction=own
                )
        key = step_key(run_id, path, iteration, input_digest)
        step = {
            "key": key,
            "run_id": run_id,
            "path": path,
            "iteration": iteration,
            "input_digest": input_digest,
            "status": envelope.status.value,
            "envelope": envelope.model_dump_json(),
            "started_ms": started_ms,
            "ended_ms": now_ms(),
        }
        inserted = insert_new_prepared(StepRow, transaction.dialect.name).run(transaction, step).rowcount
        if inserted < 1 and not _replace(transaction, step):
            return False
        if envelope.status is StepStatus.CALLED:
            _link_artifacts(transaction, run_id, path, envelope.artifacts)
            return True
        _insert(transaction, VerdictRow, [_verdict_row(run_id, key, record) for record in envelope.verdicts])
        _insert(transaction, ScoreRow, [_score_row(run_id, key, record) for record in envelope.scores])
        _link_artifacts(transaction, run_id, path, envelope.artifacts)
        return True

    def steps(self, run_id: str) -> list[StepRecord]:
        """Return a run's finished steps in the order in which they ended."""
        query = select(*_columns(StepRow)).where(col(StepRow.run_id) == run_id)
        ordered = query.order_by(col(StepRow.ended_ms), col(StepRow.started_ms), col(StepRow.path))
        with self.database.read() as connection:
            return [
                StepRecord(
                    key=row.key,
                    path=row.path,
                    iteration=row.iteration,
                    input_digest=row.input_digest,
                    envelope=Envelope.model_validate_json(row.envelope),
                    started=_moment(row.started_ms),
                    ended=_moment(row.ended_ms),
                )
                for row in connection.execute(ordered)
            ]

    # Verdicts, scores, artifacts

    def verdicts(self, run_id: str) -> list[GuardRecord]:
        """Return what guardrails found in a run, in order."""
        query = (
            select(col(VerdictRow.record))
            .where(col(VerdictRow.run_id) == run_id)
            .order_by(col(VerdictRow.id))
        )
        with self.database.read() as connection:
            return [GuardRecord.model_validate_json(row.record) for row in connection.execute(query)]

    def scores(self, run_id: str) -> list[ScoreRecord]:
        """Return what scorers measured in a run, in order."""
        query = select(col(ScoreRow.record)).where(col(ScoreRow.run_id) == run_id).order_by(col(ScoreRow.id))
        with self.database.read() as connection:
            return [ScoreRecord.model_validate_json(row.record) for row in connection.execute(query)]

    def add_artifact(self, run_id: str, artifact: Artifact, *, step: str = "") -> None:
        """Write down a file that a run made outside of a step's envelope, such as its report."""
        with self.database.write() as connection:
            _link_artifacts(connection, run_id, step, [artifact])

    def artifacts(self, run_id: str) -> list[Artifact]:
        """Return the files that a run made, in order."""
        query = (
            select(
                col(ArtifactRow.digest),
                col(ArtifactRow.media_type),
                col(ArtifactRow.bytes),
                col(RunArtifactRow.name),
                col(RunArtifactRow.meta),
            )
            .join(RunArtifactRow, col(RunArtifactRow.digest) == col(ArtifactRow.digest))
            .where(col(RunArtifactRow.run_id) == run_id)
            .order_by(col(RunArtifactRow.made_ms), col(RunArtifactRow.step), col(RunArtifactRow.name))
        )
        with self.database.read() as connection:
            return [
                Artifact(**{**row, "meta": json.loads(row["meta"])})
                for row in connection.execute(query).mappings()
            ]


def _columns(table: type[SQLModel]) -> list[Any]:
    return list(table.__table__.columns)  # type: ignore[attr-defined]


_RUN_BY_ID = select(*_columns(RunRow)).where(col(RunRow.id) == bindparam("run_id"))
_ENVELOPE_BY_KEY = Prepared(select(col(StepRow.envelope)).where(col(StepRow.key) == bindparam("step")))


_FINAL = [status.value for status in (StepStatus.OK, StepStatus.DEGRADED, StepStatus.SKIPPED)]


def _replace(connection: Connection, step: dict[str, Any]) -> bool:
    """Put a step's outcome in the place of one that is not final; return whether there was such a one."""
    query = update(StepRow).where(col(StepRow.key) == step["key"], col(StepRow.status).not_in(_FINAL))
    return bool(connection.execute(query.values(step)).rowcount)


def _insert(connection: Connection, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _run(row: Any) -> RunRecord:
    fields = {name: value for name, value in row.items() if not name.endswith("_ms")}
    for name in ("inputs", "outputs", "manifest"):
        fields[name] = None if row[name] is None else json.loads(row[name])
    fields["started"] = _moment(row["started_ms"])
    fields["ended"] = None if row["ended_ms"] is None else _moment(row["ended_ms"])
    return RunRecord(**fields)


def _verdict_row(run_id: str, key: str, record: GuardRecord) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "step_key": key,
        "guardrail": record.guardrail,
        "hook": record.hook,
        "verdict": record.verdict.value,
        "action": record.action.value,
        "record": record.model_dump_json(),
    }


def _score_row(run_id: str, key: str, record: ScoreRecord) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "step_key": key,
        "scorer": record.scorer,
        "value": record.score.value,
        "record": record.model_dump_json(),
    }


def _link_artifacts(connection: Connection, run_id: str, step: str, artifacts: Iterable[Artifact]) -> None:
    listed = list(artifacts)
    files = [{"digest": a.digest, "media_type": a.media_type, "bytes": a.bytes} for a in listed]
    links = [
        {
            "run_id": run_id,
            "digest": artifact.digest,
            "step": step,
            "name": artifact.name,
            "meta": _text(artifact.meta),
            "made_ms": now_ms(),
        }
        for artifact in listed
    ]
    if not listed:
        return
    insert_new(connection, ArtifactRow, files)
    insert_new(connection, RunArtifactRow, links)
