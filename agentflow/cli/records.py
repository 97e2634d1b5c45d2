"""``runs`` and ``show``: what runs left. They read the records only, so they work where the file has a mistake."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli.running import File, Json, RunId

if TYPE_CHECKING:
    from agentflow.store.records import RunRecord
    from agentflow.store.store import Store


def runs(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 20,
    file: File = "workflows.yaml",
    as_json: Json = False,
) -> int:
    """List the runs of a project, the newest first."""
    with open_records(file) as (store, _):
        found = store.list_runs(limit=limit)
    if as_json:
        _print_json([_brief(run) for run in found])
    else:
        _list(found)
    return 0


def show(
    run_id: RunId,
    file: File = "workflows.yaml",
    as_json: Json = False,
    guards: Annotated[bool, typer.Option("--guards", help="Each guardrail that was asked for.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="The tree of spans.")] = False,
) -> int:
    """Show a run: its plan, outcome, guardrails, steps, budget and files."""
    from agentflow.cli import screen, summary

    with open_records(file) as (store, base):
        found = summary.gather(store, base, resolve_run(store, run_id))
    if as_json:
        _print_json(_full(summary.as_json(found), found.run, guards=guards, trace=trace, path=found.trace))
        return 0
    target = screen.console()
    if guards:
        from agentflow.cli.details import show_manifest

        show_manifest(target, found.run)
    if trace:
        from agentflow.cli.details import show_trace

        show_trace(target, found.trace)
    if not (guards or trace):
        screen.show(target, found)
    return 0


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


def _list(found: list[RunRecord]) -> None:
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
    table.add_column("inputs", ratio=1, no_wrap=True, overflow="ellipsis")
    for run in found:
        took = "" if run.ended is None else figures.duration((run.ended - run.started).total_seconds() * 1e3)
        table.add_row(
            Text(run.id), screen.badge(str(run.status)), Text(f"{run.started:%Y-%m-%d %H:%M:%S}", screen.DIM),
            Text(took, screen.DIM), Text(figures.compact(run.inputs, 120), screen.DIM),
        )  # fmt: skip
    target.print(table)


def _brief(run: RunRecord) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "workflow": run.workflow,
        "status": str(run.status),
        "started": run.started.isoformat(),
        "ended": None if run.ended is None else run.ended.isoformat(),
        "seed": run.seed,
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


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))
