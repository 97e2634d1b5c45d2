"""``validate``: every mistake of a workflow file, one line each."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from agentflow.cli import exits
from agentflow.cli.options import Json


def validate(
    file: Annotated[str, typer.Argument(help="The workflow file, or its folder.")] = "workflows.yaml",
    as_json: Json = False,
) -> int:
    """Check a workflow file, and list every mistake as file:line:column."""
    from agentflow.core.errors import WorkflowFileError
    from agentflow.workflow.project import Project
    from agentflow.worldmodel import catalog

    try:
        project = Project.open(file, worlds=catalog.names())
    except WorkflowFileError as error:
        if as_json:
            print(json.dumps({"ok": False, "problems": [vars(one) for one in error.problems]}, indent=2))
        else:
            for problem in error.problems:
                print(_plain(str(problem)))
            count = len(error.problems)
            exits.say(f"{count} mistake{'s' if count != 1 else ''}", prefix="")
        return exits.USER_ERROR
    spec = project.file.spec
    counts = {
        "workflows": len(spec.workflows),
        "steps": sum(len(workflow.steps) for workflow in spec.workflows.values()),
        "guardrails": sum(len(workflow.guardrails) for workflow in spec.workflows.values()),
        "models": len(spec.models),
        "worlds": len(spec.worlds),
    }
    if as_json:
        print(json.dumps({"ok": True, "problems": [], **counts}, indent=2))
    else:
        listed = ", ".join(f"{count} {name if count != 1 else name[:-1]}" for name, count in counts.items())
        print(f"{_plain(str(project.file.path))}: ok ({listed})")
    return exits.OK


def _plain(text: str) -> str:
    from agentflow.cli.figures import plain

    return plain(text, 4000)
