"""``graph``: a workflow as Mermaid, as a picture or as JSON, also with the path that a run took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentflow.cli import exits
from agentflow.cli.attend import print_json
from agentflow.cli.options import DEFAULT_FILE, File, Json

if TYPE_CHECKING:
    from agentflow.cli.flowchart import Chart
    from agentflow.workflow.project import Project


def graph(
    workflow: Annotated[
        str, typer.Argument(metavar="WORKFLOW", help="Its name; may be left out where the file has one.")
    ] = "",
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="With the path of a run: an id, or 'last'.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a picture too.")] = None,
    file: File = DEFAULT_FILE,
    as_json: Json = False,
) -> int:
    """Print a workflow as a Mermaid chart, also with a run's path."""
    from agentflow.cli.mermaid import mermaid
    from agentflow.cli.svg import svg as picture
    from agentflow.core.errors import StorageError
    from agentflow.workflow.project import Project

    project = Project.open(file, check_secrets=False)
    chart = _of_file(project, workflow) if run_id is None else _of_run(project, workflow, run_id, file)
    if svg is not None:
        try:
            svg.write_text(picture(chart), encoding="utf-8")
        except OSError as error:
            raise StorageError("the picture", str(svg), error) from error
        exits.say(f"wrote {svg}", prefix="")
    if as_json:
        print_json(chart.as_json())
    else:
        print(mermaid(chart), end="")
    return exits.OK


def _of_file(project: Project, workflow: str) -> Chart:
    from agentflow.cli.flowchart import chart
    from agentflow.cli.running import only_one

    name = workflow or only_one(project)
    project.file.workflow(name)  # an unknown name is told with the nearest
    return chart(name, project.file.spec.workflows)


def _of_run(project: Project, workflow: str, run_id: str, file: str) -> Chart:
    """Return the chart with a run's path.

    Raises:
        InvalidInputError: the run is of another workflow.
    """
    from agentflow.cli.flowchart import Path as Way
    from agentflow.cli.flowchart import chart
    from agentflow.cli.records import open_records, resolve_run
    from agentflow.core.errors import InvalidInputError

    with open_records(file) as (store, _):
        run = store.get_run(resolve_run(store, run_id))
        way = Way(store.steps(run.id), store.approvals(run.id, open_only=True))
    if workflow and workflow != run.workflow:
        raise InvalidInputError("--run", f"a run of '{run.workflow}'", f"a run of '{workflow}'")
    project.file.workflow(run.workflow)
    if project.file.digest(run.workflow) != run.digest:
        exits.say("the workflow has changed since this run: the chart is today's", prefix="warning: ")
    return chart(run.workflow, project.file.spec.workflows, way)
