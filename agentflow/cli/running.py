"""``run``, ``resume``, ``rerun`` and ``cancel``: runs begun, gone on with, begun anew, ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli import exits
from agentflow.cli.attend import Manner, attend, print_json
from agentflow.cli.options import DEFAULT_FILE, File, Follow, Json, Quiet, RunId

if TYPE_CHECKING:
    from agentflow.cli.follow import Follower
    from agentflow.sdk import Agentflow, RunResult
    from agentflow.workflow.project import Project
    from agentflow.workflow.rerun import RerunPlan

Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; JSON where it is no text."),
]


def run(
    context: typer.Context,
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="Its name; may be left out where the file has one.")
    ] = "",
    goal: Annotated[str | None, typer.Option(help="Short for --input goal=TEXT.")] = None,
    pairs: Inputs = None,
    inputs_json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Inputs as a JSON object; - reads standard input.")
    ] = None,
    file: File = DEFAULT_FILE,
    seed: Annotated[int, typer.Option(metavar="N", help="Of all randomness.")] = 0,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it to a worker, and print its id.")] = False,
    follow: Follow = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run a workflow, and show what came of it.

    Each input of the workflow is an option too: --name VALUE.
    """
    from agentflow.cli.inputs import collect
    from agentflow.core.errors import InvalidInputError

    if not 0 <= seed < 2**63:
        raise InvalidInputError("--seed", str(seed), "a whole number from 0 to 2^63 - 1")
    if workflow.startswith("-"):
        raise InvalidInputError("workflow", f"'{workflow}'", "its name first, then the inputs")
    if detach and follow:
        raise InvalidInputError(
            "--follow", "beside --detach", "one of them; `agentflow show RUN --follow` later"
        )

    def given(flow: Agentflow) -> tuple[str, dict[str, Any]]:
        name = workflow or only_one(flow.project)
        declared = flow.project.file.workflow(name)
        return name, collect(declared, pairs=pairs or (), extra=context.args, file=inputs_json, goal=goal)

    def start(flow: Agentflow, follower: Follower) -> RunResult:
        return flow.run(*given(flow), seed=seed, listener=follower)

    if detach:
        return _detach(file, Manner(as_json, quiet), lambda flow: flow.enqueue(*given(flow), seed=seed))
    return attend(file, Manner(as_json, quiet, follow), start)


def resume(
    run_id: RunId,
    file: File = DEFAULT_FILE,
    follow: Follow = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Go on with a run that was cut off; nothing is done twice."""

    def again(flow: Agentflow, follower: Follower) -> RunResult:
        return flow.resume(_known(flow, run_id), listener=follower)

    return attend(file, Manner(as_json, quiet, follow), again)


def only_one(project: Project) -> str:
    """Return the name of a file's only workflow.

    Raises:
        InvalidInputError: it has several.
    """
    from agentflow.core.errors import InvalidInputError, listed

    names = list(project.file.spec.workflows)
    if len(names) != 1:
        raise InvalidInputError(
            "workflow", f"no name, where the file has {len(names)}", f"one of {listed(names)}"
        )
    return names[0]


def _known(flow: Agentflow, text: str) -> str:
    from agentflow.cli.records import resolve_run

    return resolve_run(flow.workshop.store, text)


def rerun(
    run_id: RunId,
    from_step: Annotated[str, typer.Option("--from", metavar="STEP", help="The step to begin with.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    file: File = DEFAULT_FILE,
    follow: Follow = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Begin anew at a step, in a run that reuses what stood before."""
    manner = Manner(as_json, quiet, follow)

    def agreed(flow: Agentflow) -> int | None:
        plan = flow.plan_rerun(_known(flow, run_id), from_step)
        if dry_run and as_json:
            print_json(_as_json(plan))
        elif dry_run or not (as_json or quiet):
            _show(plan)
        if dry_run:
            return exits.OK
        if yes or not manner.may_ask or typer.confirm("Run these steps again?"):
            return None
        exits.say("nothing was done.", prefix="")
        return exits.CANCELLED

    def again(flow: Agentflow, follower: Follower) -> RunResult:
        return flow.rerun(_known(flow, run_id), from_step, listener=follower)

    return attend(file, manner, again, agreed)


def cancel(run_id: RunId, file: File = DEFAULT_FILE, as_json: Json = False) -> int:
    """End a run, wherever it is at work; what is finished is kept."""
    from agentflow.cli.figures import process
    from agentflow.cli.records import open_records, resolve_run
    from agentflow.core.records import RunStatus
    from agentflow.workflow.decisions import cancel as end

    with open_records(file) as (store, _):
        record = store.get_run(resolve_run(store, run_id))
        end(store, record)
        record = store.get_run(record.id)
    if as_json:
        print_json(
            {"run_id": record.id, "status": str(record.status), "cancel_requested": record.cancel_requested}
        )
    elif record.status is RunStatus.CANCELLED:
        print(
            f"cancelled: run {record.id}; what is finished is kept. Go on with: agentflow resume {record.id}"
        )
    else:
        print(f"run {record.id} is at work in {process(record.owner)}, which was told to end it.")
    return exits.OK


def _detach(file: str, manner: Manner, enqueue: Callable[[Agentflow], str]) -> int:
    from agentflow.sdk import Agentflow

    with Agentflow.open(file) as flow:
        run_id = enqueue(flow)
    if manner.as_json:
        print_json({"run_id": run_id, "status": "queued"})
        return exits.OK
    print(run_id)
    if not manner.quiet:
        exits.say(f"It waits for `agentflow worker`. Follow it: agentflow show {run_id} --follow", prefix="")
    return exits.OK


def _as_json(plan: RerunPlan) -> dict[str, Any]:
    return {
        "run_id": plan.run_id,
        "from": plan.from_step,
        "reused": list(plan.reused),
        "again": {step: amounts.as_dict() for step, amounts in plan.again.items()},
        "cost_before": plan.cost.as_dict(),
    }


def _show(plan: RerunPlan) -> None:
    """Say what is taken over, and what is done again with what it cost then; on standard error."""
    from rich.table import Table
    from rich.text import Text

    from agentflow.cli import figures, screen

    target = screen.console(stderr=True)
    target.print(Text(f"rerun of {plan.run_id} from '{plan.from_step}'", "bold"))
    target.print(screen.pairs([("taken over", Text(", ".join(plan.reused) or "nothing"))]))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=screen.DIM)
    table.add_column("done again", no_wrap=True, min_width=10)
    costs = {**plan.again, "in all": plan.cost}
    shown = [name for name in figures.BUDGET_LABELS if getattr(plan.cost, name)]
    for name in shown:
        table.add_column(figures.BUDGET_LABELS[name], justify="right")
    for step, amounts in costs.items():
        cells = [figures.amount(name, getattr(amounts, name)) for name in shown]
        table.add_row(Text(step, "bold" if step == "in all" else ""), *cells)
    target.print(table)
    target.print(Text("what it cost then; what it will cost now is not known", screen.DIM))
