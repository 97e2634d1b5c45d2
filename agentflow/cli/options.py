"""The options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

File = Annotated[str, typer.Option("--file", "-f", help="The workflow file, or its folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, and one line at the end.")]
Follow = Annotated[
    bool, typer.Option("--follow", help="Lines or a board of progress, also with --json or --quiet.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or 'last'.")]
DEFAULT_FILE = "workflows.yaml"
