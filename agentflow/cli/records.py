"""``runs`` and ``show``: what runs left. They read the records only, so they work where the file has a mistake."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli import exits
from agentflow.cli.attend import print_json
from agentflow.cli.options import DEFAULT_FILE, File, Json, Quiet, RunId
from agentflow.core.records import RunStatus

if TYPE_CHECKING:
    from agentflow.store.records import RunRecord
    from agentflow.store.store import Store


def runs(
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="How many, the newest first.")
    ] = 20,
    file: File = DEFAULT_FILE,
    as_json: Json = False,
) -> int:
    """List the runs of a project, the newest first."""
    with open_records(file) as (store, _):
        found = store.list_runs(limit=limit)
        open_ones = Counter(asked.run_id for asked in store.approvals(open_only=True))
    if as_json:
        print_json([_brief(run) | {"questions": open_ones[run.id]} for run in found])
    else:
        _list(found, open_ones)
    return 0


def show(
    run_id: RunId,
    file: File = DEFAULT_FILE,
    follow: Annotated[bool, typer.Option("--follow", help="Watch it first, until it ends or waits.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    guards: Annotated[bool, typer.Option("--guards", help="Each guardrail that was asked for.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="The tree of spans.")] = False,
) -> int:
    """Show a run: plan, outcome, guardrails, steps, budget, files.

    With --follow, the exit code is the run's.
    """
    from agentflow.cli import screen, summary

    with open_records(file) as (store, base):
        known = resolve_run(store, run_id)
        code = _follow(store, base, known, quiet=quiet) if follow else exits.OK
        found = summary.gather(store, base, known)
    if as_json:
        print_json(_full(summary.as_json(found), found.run, guards=guards, trace=trace, path=found.trace))
        return code
    if quiet:
        print(f"{found.status} {found.run.id} {found.report or found.trace}")
        return code
    target = screen.console()
    if guards:
        from agentflow.cli.details import show_manifest

        show_manifest(target, found.run)
    if trace:
        from agentflow.cli.details import show_trace

        show_trace(target, found.trace)
    if not (guards or trace):
        screen.show(target, found)
    return code


def _follow(store: Store, base: Path, run_id: str, *, quiet: bool) -> int:
    """Watch a run until it ends, waits, or has nobody who is at work on it; return its exit code."""
    from agentflow.cli.elsewhere import AT_WORK, POLL_S, Elsewhere
    from agentflow.cli.follow import follower
    from agentflow.cli.screen import console
    from agentflow.cli.summary import budget_lines

    run = Elsewhere(store, run_id, base / "runs" / run_id / "trace.jsonl")
    if run.record.status is RunStatus.QUEUED:
        exits.say(f"run {run_id} is queued: `agentflow worker` takes it up", prefix="")
    try:
        with follower(
            console(stderr=True), quiet=quiet, budget=lambda one: budget_lines(store, one)
        ) as watch:
            while True:
                for event in run.look():
                    watch(event)
                if run.record.status not in AT_WORK:
                    return exits.of_run(str(run.record.status), run.record.error_kind)
                if run.abandoned:
                    break
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        exits.say(f"no longer followed; run {run_id} goes on. End it: agentflow cancel {run_id}", prefix="")
        raise typer.Exit(exits.CANCELLED) from None
    exits.say(
        f"nobody is at work on run {run_id}. Go on with: agentflow resume {run_id}, or agentflow worker"
    )
    return exits.FAILED


@contextmanager
def open_records(file: str) -> Iterator[tuple[Store, Path]]:
    """Give the store of a project and the folder that it lies in.

    Raises:
        InvalidInputError: the project has no records yet.
    """
    from agentflow.core.errors import InvalidInputError
    from agentflow.store.store import DATABASE_NAME, DATABASE_VARIABLE, Store

    path = Path(file)
    base = (path if path.is_dir() else path.parent).resolve() / ".agentflow"
    if not (os.environ.get(DATABASE_VARIABLE) or (base / DATABASE_NAME).exists()):
        raise InvalidInputError(
            "project",
            f"no runs beside {file}",
            "a project in which `agentflow run` was used (--file names it)",
        )
    store = Store.of_project(base)
    try:
        yield store, base
    finally:
        store.close()


def resolve_run(store: Store, text: str) -> str:
    """Return the id of a run; ``last`` is the newest."""
    if text != "last":
        return text
    newest = store.list_runs(limit=1)
    return newest[0].id if newest else text


def _list(found: list[RunRecord], open_ones: Mapping[str, int]) -> None:
    from rich.table import Table
    from rich.text import Text

    from agentflow.cli import figures, screen

    target = screen.console()
    if not found:
        target.print("no runs yet: agentflow run WORKFLOW")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=screen.DIM, expand=True)
    table.add_column("run", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("begun (UTC)", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    now = {run.id: _now(run, open_ones.get(run.id, 0)) for run in found}
    if any(now.values()):
        table.add_column("now")
    table.add_column("inputs", ratio=1, no_wrap=True, overflow="ellipsis")
    for run in found:
        took = "" if run.ended is None else figures.duration((run.ended - run.started).total_seconds() * 1e3)
        told = [Text(now[run.id])] if any(now.values()) else []
        table.add_row(
            Text(run.id), screen.badge(str(run.status)), Text(f"{run.started:%m-%d %H:%M}", screen.DIM),
            Text(took, screen.DIM), *told, Text(figures.compact(run.inputs, 120), screen.DIM),
        )  # fmt: skip
    target.print(table)


def _now(run: RunRecord, questions: int) -> str:
    """Return what holds a run that has not ended: who has it, or what it waits for."""
    from agentflow.cli.figures import process
    from agentflow.store.owner import Owner

    if run.status is RunStatus.QUEUED:
        return "for a worker"
    if run.status is RunStatus.WAITING:
        return (
            f"{questions} question{'s' if questions != 1 else ''}" if questions else "decided; for a worker"
        )
    if run.status is not RunStatus.RUNNING:
        return ""
    owner = Owner.parse(run.owner or "")
    dead = " (dead)" if owner is not None and owner.surely_dead else ""
    ends = ", to be cancelled" if run.cancel_requested else ""
    return f"{process(run.owner)}{dead}{ends}"


def _brief(run: RunRecord) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "workflow": run.workflow,
        "status": str(run.status),
        "started": run.started.isoformat(),
        "ended": None if run.ended is None else run.ended.isoformat(),
        "seed": run.seed,
        "held_by": run.owner,
        "cancel_requested": run.cancel_requested,
        "reused_from": run.reused_from,
        "inputs": run.inputs,
        "error": None if run.error is None else {"kind": run.error_kind, "message": run.error},
    }


def _full(shown: dict[str, Any], run: RunRecord, *, guards: bool, trace: bool, path: Path) -> dict[str, Any]:
    full = {**_brief(run), **shown}
    if guards:
        full["manifest"] = run.manifest
    if trace:
        from agentflow.cli.details import trace_as_json

        full["trace"] = trace_as_json(path)
    return full
