"""`RunSummary`: what a run left behind, gathered once for the screen, the report and ``--json``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentflow.cli.findings import Findings, find
from agentflow.core.amounts import DIMENSIONS, UNLIMITED
from agentflow.core.records import Artifact, GuardRecord, RunStatus

if TYPE_CHECKING:
    from agentflow.store.records import ApprovalRecord, RunRecord, StepRecord
    from agentflow.store.store import Store

_INNER = re.compile(r"[\[/#]")
_ENDS = ("input", "output")
_GRAVITY = ("allow", "warn", "modify", "escalate", "deny")


@dataclass(frozen=True)
class StepLine:
    """A step of the file, as it ended; ``passes`` counts the loops of a gate."""

    id: str
    status: str
    milliseconds: float
    passes: int = 1
    error: str = ""
    rungs: tuple[str, ...] = ()
    items: tuple[int, int] | None = None
    """Of a ``foreach``: how many items ended well, of how many."""


@dataclass(frozen=True)
class GuardLine:
    """A guardrail at a hook, over the whole run. ``reason`` is that of its gravest verdict."""

    guardrail: str
    hook: str
    ran: int
    verdicts: Mapping[str, int] = field(default_factory=dict)
    actions: Mapping[str, int] = field(default_factory=dict)
    gravest: str = ""
    reason: str = ""
    unable: int = 0
    """How often it failed or timed out, and could not judge."""


@dataclass(frozen=True)
class BudgetLine:
    """A budget dimension, in its integer unit; ``cap`` None is no cap."""

    dimension: str
    spent: int
    held: int
    cap: int | None

    @property
    def share(self) -> float | None:
        """How much of the cap is spent and held."""
        return None if self.cap is None else (self.spent + self.held) / self.cap if self.cap else 1.0


@dataclass(frozen=True)
class RunSummary:
    """A run as far as it has come."""

    run: RunRecord
    steps: tuple[StepLine, ...]
    guards: tuple[GuardLine, ...]
    budget: tuple[BudgetLine, ...]
    findings: Findings
    artifacts: tuple[Artifact, ...]
    folder: Path
    questions: Sequence[ApprovalRecord] = ()
    media: tuple[Path, ...] = ()
    """Videos and pictures under their friendly names, in ``folder``."""
    report: Path | None = None

    @property
    def status(self) -> RunStatus:
        """Where the run stands."""
        return self.run.status

    @property
    def milliseconds(self) -> float:
        """From its begin to its end, or what its steps took where it has none."""
        if self.run.ended is None:
            return sum(step.milliseconds for step in self.steps)
        return (self.run.ended - self.run.started).total_seconds() * 1e3

    @property
    def video(self) -> Path | None:
        """The first video."""
        return next((path for path in self.media if path.suffix in (".mp4", ".webm", ".mov")), None)

    @property
    def trace(self) -> Path:
        """The trace file."""
        return Path(self.run.trace_path or self.folder / "trace.jsonl")

    @property
    def verdict_counts(self) -> dict[str, int]:
        """How often each verdict was given."""
        total: Counter[str] = Counter()
        for line in self.guards:
            total.update(line.verdicts)
        return {name: total[name] for name in _GRAVITY if total[name]}


def gather(
    store: Store,
    base: Path,
    run_id: str,
    *,
    manifest: Mapping[str, Any] | None = None,
) -> RunSummary:
    """Read what ``store`` holds about a run.

    Args:
        store: the project's.
        base: the folder of the project's records.
        run_id: the run.
        manifest: of its guardrails, where the record has none yet.

    Raises:
        UnknownNameError: there is no such run.
    """
    run = store.get_run(run_id)
    records = store.steps(run_id)
    folder = base / "runs" / run_id
    known = run.manifest or manifest or {}
    return RunSummary(
        run=run,
        steps=_steps(records),
        guards=_guards(known.get("guardrails", []), store.verdicts(run_id)),
        budget=budget_lines(store, run_id),
        findings=find({record.path: record.envelope.output for record in _outer(records)}, base),
        artifacts=tuple(store.artifacts(run_id)),
        folder=folder,
        questions=tuple(store.approvals(run_id, open_only=True)),
        media=_named_media(folder),
        report=next((path for path in [folder / "report.html"] if path.exists()), None),
    )


def as_json(summary: RunSummary) -> dict[str, Any]:
    """Return a summary as ``--json`` prints it."""
    run = summary.run
    return {
        "run_id": run.id,
        "workflow": run.workflow,
        "status": str(run.status),
        "outputs": run.outputs,
        "error": None if run.error is None else {"kind": run.error_kind, "message": run.error},
        "usage": {
            line.dimension: {"spent": line.spent, "reserved": line.held, "cap": line.cap}
            for line in summary.budget
        },
        "verdicts": summary.verdict_counts,
        "steps": {step.id: step.status for step in summary.steps},
        "questions": [question.model_dump(mode="json") for question in summary.questions],
        "paths": {
            "folder": str(summary.folder),
            "trace": str(summary.trace),
            "report": None if summary.report is None else str(summary.report),
            "video": None if summary.video is None else str(summary.video),
            "media": [str(path) for path in summary.media],
        },
    }


def _outer(records: Iterable[StepRecord]) -> list[StepRecord]:
    """Return the records of the file's own steps, without what ran inside them."""
    return [r for r in records if not _INNER.search(r.path) and r.path not in _ENDS]


def _steps(records: Sequence[StepRecord]) -> tuple[StepLine, ...]:
    lines: dict[str, StepLine] = {}
    for record in sorted(_outer(records), key=lambda one: one.started):
        before = lines.get(record.path)
        spent = (record.ended - record.started).total_seconds() * 1e3
        envelope = record.envelope
        lines[record.path] = StepLine(
            record.path,
            str(envelope.status),
            spent + (before.milliseconds if before else 0.0),
            1 + (before.passes if before else 0),
            envelope.error or "",
            tuple(envelope.rungs),
            _items(record, records),
        )
    return tuple(lines.values())


def _items(step: StepRecord, records: Iterable[StepRecord]) -> tuple[int, int] | None:
    """Return how many items of a ``foreach`` ended well, of how many."""
    item = re.compile(re.escape(step.path) + r"\[\d+\]")
    found = {r.path: r.envelope.usable for r in records if item.fullmatch(r.path)}
    return (sum(found.values()), len(found)) if found else None


def _guards(asked: Iterable[Mapping[str, Any]], found: Iterable[GuardRecord]) -> tuple[GuardLine, ...]:
    """Return one line a guardrail and hook, those that were never reached included."""
    by_place: dict[tuple[str, str], list[GuardRecord]] = {}
    for row in asked:
        by_place.setdefault((str(row["guardrail"]), str(row["hook"])), [])
    for record in found:
        by_place.setdefault((record.guardrail, str(record.hook)), []).append(record)
    return tuple(_guard(*place, records) for place, records in by_place.items())


def _guard(guardrail: str, hook: str, records: list[GuardRecord]) -> GuardLine:
    if not records:
        return GuardLine(guardrail, hook, 0)
    gravest = max(records, key=lambda record: _GRAVITY.index(record.verdict))
    verdicts = Counter(str(record.verdict) for record in records)
    return GuardLine(
        guardrail,
        hook,
        len(records),
        {name: verdicts[name] for name in _GRAVITY if verdicts[name]},
        dict(Counter(str(record.action) for record in records).most_common()),
        str(gravest.verdict),
        gravest.reason,
        sum(record.status != "ran" for record in records),
    )


def budget_lines(store: Store, run_id: str) -> tuple[BudgetLine, ...]:
    """Return what a run has used so far, a line a dimension; nothing before its budget is opened."""
    from agentflow.budget.ledger import Ledger
    from agentflow.core.errors import UnknownNameError

    try:
        usage = Ledger(store).usage(f"run:{run_id}")
    except UnknownNameError:  # cut off before its budget was opened
        return ()
    return tuple(
        BudgetLine(
            name, getattr(usage.spent, name), getattr(usage.held, name),
            None if getattr(usage.cap, name) >= UNLIMITED else getattr(usage.cap, name),
        )
        for name in DIMENSIONS
    )  # fmt: skip


def _named_media(folder: Path) -> tuple[Path, ...]:
    kinds = (".mp4", ".webm", ".mov", ".png", ".jpg", ".gif")
    return tuple(path for path in sorted(folder.glob("*")) if path.suffix in kinds)
