"""``run``, ``approve``, ``reject`` and ``resume``: a run at work, followed and told about."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli import exits

if TYPE_CHECKING:
    from agentflow.cli.follow import Follower
    from agentflow.cli.summary import RunSummary
    from agentflow.sdk import Agentflow, RunResult

File = Annotated[
    str, typer.Option("--file", "-f", help="The workflow file, or its folder.", show_default=True)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, and one line at the end.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or 'last'.")]
Comment = Annotated[str, typer.Option("--comment", help="Why; kept in the run's records.")]


@dataclass(frozen=True)
class Manner:
    """How a run is shown."""

    as_json: bool = False
    quiet: bool = False

    @property
    def may_ask(self) -> bool:
        """Whether a person sits at the terminal and may be asked."""
        return not (self.as_json or self.quiet) and sys.stdin.isatty() and sys.stdout.isatty()


def run(
    context: typer.Context,
    workflow: Annotated[str, typer.Argument(help="The workflow's name in the file.")],
    goal: Annotated[str | None, typer.Option(help="Short for --input goal=TEXT.")] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; JSON where it is no text."),
    ] = None,
    inputs_json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Inputs as a JSON object; - reads standard input.")
    ] = None,
    file: File = "workflows.yaml",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all randomness.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run a workflow, and show what came of it.

    Each input of the workflow is an option too: --name VALUE.
    """
    from agentflow.cli.inputs import collect
    from agentflow.core.errors import InvalidInputError

    if workflow.startswith("-"):
        raise InvalidInputError("workflow", f"'{workflow}'", "its name first, then the inputs")
    manner = Manner(as_json, quiet)

    def start(flow: Agentflow, follower: Follower) -> RunResult:
        given = collect(
            flow.project.file.workflow(workflow), pairs=pairs or (), extra=context.args, file=inputs_json, goal=goal
        )  # fmt: skip
        return _begin(flow, workflow, seed, follower, given)

    return _go(file, manner, start)


def approve(
    run_id: RunId,
    comment: Comment = "",
    file: File = "workflows.yaml",
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Approve what a run waits for; it goes on."""
    return _decide(run_id, "approve", comment, file, Manner(as_json, quiet))


def reject(
    run_id: RunId,
    comment: Comment = "",
    file: File = "workflows.yaml",
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Reject what a run waits for; it ends."""
    return _decide(run_id, "reject", comment, file, Manner(as_json, quiet))


def resume(run_id: RunId, file: File = "workflows.yaml", as_json: Json = False, quiet: Quiet = False) -> int:
    """Go on with a run that was cut off; what is finished is not done again."""

    def again(flow: Agentflow, follower: Follower) -> RunResult:
        known = _run_id(flow, run_id)
        return flow.resume(known, listener=follower)

    return _go(file, Manner(as_json, quiet), again)


def _decide(run_id: str, decision: str, comment: str, file: str, manner: Manner) -> int:
    def answer(flow: Agentflow, follower: Follower) -> RunResult:
        known = _run_id(flow, run_id)
        return flow.decide(known, decision, by=_who(), comment=comment, listener=follower)

    return _go(file, manner, answer)


def _go(file: str, manner: Manner, start: Callable[[Agentflow, Follower], RunResult]) -> int:
    """Open the project, do ``start`` while it is followed, show its end; ask where it waits."""
    from agentflow.core.errors import AgentflowError

    try:
        from agentflow.sdk import Agentflow

        with Agentflow.open(file) as flow:
            action = start
            while True:
                result = _followed(flow, manner, action)
                if result is None:
                    return exits.CANCELLED
                summary = _told(flow, result, manner)
                decision = _ask() if len(result.questions) == 1 and manner.may_ask else None
                if decision is None:
                    return exits.of_run(str(summary.status), getattr(result.error, "kind", None))
                action = _deciding(result.run_id, decision)
    except AgentflowError as error:
        if manner.as_json:
            _print_json({"run_id": None, "status": "not_started", "outputs": None,
                         "error": {"kind": error.kind, "message": str(error)}})  # fmt: skip
        raise


def _deciding(run_id: str, decision: str) -> Callable[[Agentflow, Follower], RunResult]:
    return lambda flow, follower: flow.decide(run_id, decision, by=_who(), listener=follower)


def _followed(
    flow: Agentflow, manner: Manner, action: Callable[[Agentflow, Follower], RunResult]
) -> RunResult | None:
    """Return the result, or None where Ctrl-C ended it, which is told."""
    from agentflow.cli.follow import follower
    from agentflow.cli.screen import console
    from agentflow.cli.summary import budget_lines

    # What a tool prints goes where the progress is, never between the lines of a result.
    silent = manner.as_json or manner.quiet
    store = flow.workshop.store
    watch = follower(console(stderr=True), quiet=silent, budget=lambda run: budget_lines(store, run))
    try:
        with contextlib.redirect_stdout(sys.stderr), watch:
            return action(flow, watch)
    except KeyboardInterrupt:
        _cancelled(flow, watch, manner)
        return None


def _cancelled(flow: Agentflow, watch: Follower, manner: Manner) -> None:
    if not watch.run_id:
        exits.say("cancelled before the run began; nothing was kept.", prefix="")
        if manner.as_json:
            _print_json({"run_id": None, "status": "cancelled", "outputs": None, "error": None})
        return
    done = ", ".join(watch.finished)
    kept = f"finished steps are kept ({done})" if done else "no step was finished"
    exits.say(
        f"cancelled: run {watch.run_id}; {kept}. Go on with: agentflow resume {watch.run_id}", prefix=""
    )
    if manner.as_json:
        from agentflow.cli.summary import as_json, gather

        shop = flow.workshop
        _print_json(as_json(gather(shop.store, shop.folder, watch.run_id)))


def _told(flow: Agentflow, result: RunResult, manner: Manner) -> RunSummary:
    """Write the report, and show the end of a run."""
    from agentflow.cli import report, summary

    shop = flow.workshop
    found = summary.gather(shop.store, shop.folder, result.run_id, manifest=result.manifest)
    try:
        found = report.write(found, shop.folder)
    except OSError as error:
        exits.say(f"the report could not be written: {error}", prefix="warning: ")
    if manner.as_json:
        _print_json(summary.as_json(found))
    elif manner.quiet:
        print(f"{found.status} {found.run.id} {found.report or found.trace}")
        if found.run.error:
            exits.say(found.run.error)
    else:
        from agentflow.cli import screen

        screen.show(screen.console(), found)
    return found


def _ask() -> str | None:
    """Return what a person decides; None is later."""
    try:
        answer = input("Approve? [y = yes, n = no, Enter = decide later] ").strip().lower()
    except (EOFError, KeyboardInterrupt):
        return None
    return {"y": "approve", "yes": "approve", "n": "reject", "no": "reject"}.get(answer)


def _run_id(flow: Agentflow, text: str) -> str:
    from agentflow.cli.records import resolve_run

    return resolve_run(flow.workshop.store, text)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return "someone at the command line"


def _begin(flow: Agentflow, workflow: str, seed: int, watch: Follower, given: dict[str, Any]) -> RunResult:
    """Run with inputs of any name: as keywords, one called ``seed`` or ``listener`` would mean something else."""
    import asyncio

    from agentflow.workflow.runner import Runner

    return asyncio.run(Runner(flow.workshop, workflow, seed=seed, listener=watch).start(given))


def _print_json(value: Any) -> None:
    print(json.dumps(_finite(value), indent=2, default=str))


def _finite(value: Any) -> Any:
    """Return JSON without NaN, which is none."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
