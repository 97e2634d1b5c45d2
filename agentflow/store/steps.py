"""The rows of finished steps, and of what they brought: verdicts, scores, artifacts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, literal_column, select, update
from sqlmodel import SQLModel, col

from agentflow.core.amounts import Amounts
from agentflow.core.records import Artifact, Envelope, GuardRecord, ScoreRecord, StepStatus, digest_of
from agentflow.store.clock import moment, now_ms
from agentflow.store.database import Database, columns, insert_all_new, insert_for, insert_new_prepared
from agentflow.store.leases import Lease, under
from agentflow.store.prepared import Prepared
from agentflow.store.records import StepRecord
from agentflow.store.runs import as_text
from agentflow.store.tables import ArtifactRow, RunArtifactRow, RunRow, ScoreRow, StepRow, VerdictRow


def step_key(run_id: str, path: str, iteration: str, input_digest: str) -> str:
    """Return the key under which a step is finished once: same run, same place, same inputs.

    Args:
        run_id: the run.
        path: the step's place among the workflow's nodes, such as ``plan/2/simulate``.
        iteration: which pass of a loop or which item of a ``foreach``; empty outside of both.
        input_digest: the digest of the inputs that it is called with.
    """
    return digest_of([run_id, path, iteration, input_digest])


class Steps:
    """What the store knows about steps."""

    database: Database

    def find_step(self, key: str) -> Envelope | None:
        """Return the outcome of a finished step, or None where it is not finished."""
        return self._found(_ENVELOPE_BY_KEY, {"step": key})

    def record_step(
        self,
        run_id: str,
        path: str,
        iteration: str,
        input_digest: str,
        envelope: Envelope,
        *,
        started_ms: int,
        cache_key: str | None = None,
        lease: Lease | None = None,
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
            cache_key: under which `find_cached` finds it again in later runs.
            lease: the right to write for the run; a transaction that was opened with it needs no other.
            transaction: the one to take part in; without it, the record is one of its own.

        Returns:
            Whether this call wrote it; False where the step stood finished, and nothing was changed.
        """
        step = {
            "key": step_key(run_id, path, iteration, input_digest),
            "run_id": run_id,
            "path": path,
            "iteration": iteration,
            "input_digest": input_digest,
            "status": envelope.status.value,
            "envelope": envelope.model_dump_json(),
            "started_ms": started_ms,
            "ended_ms": now_ms(),
            "cache_key": cache_key,
        }
        write = under(lease, lambda connection: _write_step(connection, step, envelope))
        if transaction is not None:
            return write(transaction)
        if lease is not None and not (envelope.verdicts or envelope.scores or envelope.artifacts):
            held = {"lease_run": lease.run_id, "lease_owner": lease.owner, "lease_fence": lease.fence}
            if self.database.alone(_STEP_UNDER_LEASE, step | held):
                return True
        return self.database.attempt(write)  # which says why, where the row did not go in by itself

    def find_step_at(self, run_id: str, path: str, iteration: str) -> tuple[str, Envelope] | None:
        """Return the digest of the inputs and the outcome that a place had last, or None where it had none."""
        place = {"at_run": run_id, "at_path": path, "at_iteration": iteration}
        with self.database.read() as connection:
            row = _STEP_AT.run(connection, place).fetchone()
        return None if row is None else (row[0], Envelope.model_validate_json(row[1]))

    def item_envelopes(self, run_id: str, path: str, iteration: str) -> dict[int, Envelope]:
        """Return how the items of a ``foreach`` ended, by their place in its list."""
        start = f"{path}["
        query = (
            select(col(StepRow.path), col(StepRow.envelope))
            .where(col(StepRow.run_id) == run_id, col(StepRow.iteration) == iteration)
            .where(func.substr(col(StepRow.path), 1, len(start)) == start)
            .order_by(col(StepRow.ended_ms))
        )
        with self.database.read() as connection:
            found = [(row.path[len(start) : -1], row.envelope) for row in connection.execute(query)]
        return {int(place): Envelope.model_validate_json(text) for place, text in found if place.isdecimal()}

    def find_cached(self, cache_key: str) -> Envelope | None:
        """Return the newest ``ok`` outcome that any run recorded under a cache key, or None where there is none."""
        return self._found(_ENVELOPE_CACHED, {"cached": cache_key})

    def steps(self, run_id: str) -> list[StepRecord]:
        """Return a run's finished steps in the order in which they ended."""
        return self._steps(_STEPS, run_id)

    def outer_steps(self, run_id: str) -> list[StepRecord]:
        """Return a run's finished steps without the items of a ``foreach``, what is in them, and an agent's calls."""
        return self._steps(_OUTER_STEPS, run_id)

    def copy_steps(
        self, from_run: str, to_run: str, paths: Collection[str], *, lease: Lease | None = None
    ) -> int:
        """Take final steps over into another run, with their items and inner calls; return how many rows that were.

        A copy cost nothing, says that it is ``reused``, and brings its verdicts, scores and artifacts. What stands in
        the other run already stays.

        Args:
            from_run: the run that paid for them.
            to_run: the run that is to find them.
            paths: of the outer steps.
            lease: the right to write for ``to_run``.
        """
        wanted = frozenset(paths)

        def copy(connection: Connection) -> int:
            found = connection.execute(_FINAL_STEPS, {"of_run": from_run}).mappings().all()
            rows = [dict(row) for row in found if _belongs(row["path"], wanted)]
            return sum(_copy_step(connection, row, to_run) for row in rows)

        return self.database.attempt(under(lease, copy))

    def _found(self, query: Prepared, values: dict[str, Any]) -> Envelope | None:
        with self.database.read() as connection:
            row = query.run(connection, values).fetchone()
        return None if row is None else Envelope.model_validate_json(row[0])

    def _steps(self, query: Any, run_id: str) -> list[StepRecord]:
        with self.database.read() as connection:
            return [
                StepRecord(
                    key=row.key,
                    path=row.path,
                    iteration=row.iteration,
                    input_digest=row.input_digest,
                    envelope=Envelope.model_validate_json(row.envelope),
                    started=moment(row.started_ms),
                    ended=moment(row.ended_ms),
                )
                for row in connection.execute(query, {"of_run": run_id})
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


_FINAL = [status.value for status in (StepStatus.OK, StepStatus.DEGRADED, StepStatus.SKIPPED)]
_ENVELOPE = select(col(StepRow.envelope))
_ENVELOPE_BY_KEY = Prepared(_ENVELOPE.where(col(StepRow.key) == bindparam("step")))
_NEWEST = col(StepRow.ended_ms).desc()
_STEP_COLUMNS = [column.name for column in columns(StepRow)]
# For SQLite alone: it checks the lease and writes the row at once, with nobody in between.
_STEP_UNDER_LEASE = Prepared(
    insert_for("sqlite")(StepRow)
    .from_select(
        _STEP_COLUMNS,
        select(*(bindparam(name) for name in _STEP_COLUMNS)).where(
            select(col(RunRow.id))
            .where(
                col(RunRow.id) == bindparam("lease_run"),
                col(RunRow.owner) == bindparam("lease_owner"),
                col(RunRow.fence) == bindparam("lease_fence"),
            )
            .exists()
        ),
    )
    .on_conflict_do_nothing()
)
_STEP_AT = Prepared(
    select(col(StepRow.input_digest), col(StepRow.envelope))
    .where(
        col(StepRow.run_id) == bindparam("at_run"),
        col(StepRow.path) == bindparam("at_path"),
        col(StepRow.iteration) == bindparam("at_iteration"),
    )
    .order_by(_NEWEST)
)
# The status is written out: so nothing but the key is a parameter.
_OK: Any = literal_column(f"'{StepStatus.OK.value}'")
_ENVELOPE_CACHED = Prepared(
    _ENVELOPE.where(col(StepRow.cache_key) == bindparam("cached"), col(StepRow.status) == _OK).order_by(
        _NEWEST
    )
)
_STEPS = (
    select(*columns(StepRow))
    .where(col(StepRow.run_id) == bindparam("of_run"))
    .order_by(col(StepRow.ended_ms), col(StepRow.started_ms), col(StepRow.path))
)
_OUTER_STEPS = _STEPS.where(col(StepRow.path).not_like("%[%"))
_FINAL_STEPS = _STEPS.where(col(StepRow.status).in_(_FINAL))


def _belongs(path: str, outer: Collection[str]) -> bool:
    """Return whether a path is one of ``outer``, or of an item of it (``path[…]``) or a call in it (``path/…``)."""
    return path in outer or any(path[:end] in outer for end, mark in enumerate(path) if mark in "[/")


def _copy_step(connection: Connection, row: dict[str, Any], to_run: str) -> bool:
    paid = Envelope.model_validate_json(row["envelope"])
    envelope = paid.model_copy(update={"usage": Amounts(), "reused": True})
    place = {
        "key": step_key(to_run, row["path"], row["iteration"], row["input_digest"]),
        "run_id": to_run,
        "envelope": envelope.model_dump_json(),
        "cache_key": None,  # the cache finds the one that was paid for
    }
    return _write_step(connection, row | place, envelope)


def _write_step(connection: Connection, step: dict[str, Any], envelope: Envelope) -> bool:
    inserted = insert_new_prepared(StepRow, connection.dialect.name).run(connection, step).rowcount
    if inserted < 1 and not _replace(connection, step):
        return False
    run_id, key, path = step["run_id"], step["key"], step["path"]
    if envelope.status is not StepStatus.CALLED:
        _insert(connection, VerdictRow, [_verdict_row(run_id, key, record) for record in envelope.verdicts])
        _insert(connection, ScoreRow, [_score_row(run_id, key, record) for record in envelope.scores])
    _link_artifacts(connection, run_id, path, envelope.artifacts)
    return True


def _replace(connection: Connection, step: dict[str, Any]) -> bool:
    """Put a step's outcome in the place of one that is not final; return whether there was such a one."""
    query = update(StepRow).where(col(StepRow.key) == step["key"], col(StepRow.status).not_in(_FINAL))
    return bool(connection.execute(query.values(step)).rowcount)


def _insert(connection: Connection, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


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
    listed = sorted(artifacts, key=lambda artifact: artifact.digest)  # one order of locks
    files = [{"digest": a.digest, "media_type": a.media_type, "bytes": a.bytes} for a in listed]
    links = [
        {
            "run_id": run_id,
            "digest": artifact.digest,
            "step": step,
            "name": artifact.name,
            "meta": as_text(artifact.meta),
            "made_ms": now_ms(),
        }
        for artifact in listed
    ]
    insert_all_new(connection, ArtifactRow, files)
    insert_all_new(connection, RunArtifactRow, links)
