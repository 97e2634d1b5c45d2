"""``init``: a new project's folder, in which ``agentflow run`` works at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agentflow.cli import exits

TEMPLATES = Path(__file__).parent / "templates"
_MAY_BE_THERE = {".git"}
_NEVER = "__pycache__"


class Template(StrEnum):
    """What a project begins with."""

    PARCELS = "parcels"
    PUSH = "push"


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The folder to make; . is this one.")],
    template: Annotated[
        Template,
        typer.Option(help="parcels: tools, a guardrail, an approval. push: planning in a learned world."),
    ] = Template.PARCELS,
) -> int:
    """Make a new project, in which `agentflow run` works at once."""
    from agentflow.core.errors import StorageError

    folder = Path(name)
    _require_empty(folder)
    try:
        files = _write(folder, TEMPLATES / template)
    except OSError as error:
        raise StorageError("the new project", str(folder), error) from error
    print(f"made {folder} ({len(files)} files). Next:")
    if folder.resolve() != Path.cwd():
        print(f"  cd {folder}")
    print("  agentflow run\n  python -m pytest")
    return exits.OK


def _require_empty(folder: Path) -> None:
    """Refuse a place where something is.

    Raises:
        InvalidInputError: a file, or a folder that is not empty.
    """
    from agentflow.core.errors import InvalidInputError, listed

    if folder.exists() and not folder.is_dir():
        raise InvalidInputError("NAME", f"'{folder}', which is a file", "a folder that is new or empty")
    there = (
        sorted(each.name for each in folder.iterdir() if each.name not in _MAY_BE_THERE)
        if folder.exists()
        else []
    )
    if there:
        raise InvalidInputError(
            "NAME", f"'{folder}', which holds {listed(there)}", "a folder that is new or empty"
        )


def _write(folder: Path, template: Path) -> list[Path]:
    """Write a template's files, and the schema that editors read; return them."""
    from agentflow.workflow.json_schema import DEFAULT_PATH, schema_text

    title = folder.resolve().name
    texts = {
        path.relative_to(template): path.read_text(encoding="utf-8").replace("@@NAME@@", title)
        for path in sorted(template.rglob("*"))
        if path.is_file() and _NEVER not in path.parts
    }
    texts[Path(".gitignore")] = (TEMPLATES / "gitignore").read_text(encoding="utf-8")
    texts[DEFAULT_PATH] = schema_text()
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return list(texts)
