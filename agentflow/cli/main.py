"""`agentflow`: the commands, their help, and how the program ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from agentflow.cli import approvals, exits, records, running, validate, worker, world
from agentflow.cli.exits import EXIT_CODES, guarded

HELP = "Guardrailed agent workflows around world models: YAML in, guarded, budgeted, traced predictions out."
EPILOG = "\n".join(["Exit codes:", *(f"{code:>4}  {meaning}" for code, meaning in EXIT_CODES.items())])
_INPUTS = {"allow_extra_args": True, "ignore_unknown_options": True}


def run(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code; the codes are in `EXIT_CODES`.

    Args:
        arguments: what follows the program's name; by default this process's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:  # it stands anywhere, also where every unknown option is an input
        given.remove("--debug")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # an old terminal shows a question mark, and does not end the run
            stream.reconfigure(errors="replace")
    token = exits.debugging.set(debug)
    try:
        application()(given, prog_name="agentflow")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    finally:
        exits.debugging.reset(token)
    return exits.OK


def application() -> typer.Typer:
    """Return the command line as a Typer application."""
    app = typer.Typer(
        help=HELP, epilog=EPILOG, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
        rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_options)
    app.command("run", context_settings=_INPUTS)(guarded(running.run))
    commands: tuple[Callable[..., int], ...] = (
        validate.validate, records.runs, records.show, approvals.approvals, approvals.approve, approvals.reject,
        running.resume, running.rerun, running.cancel, worker.worker,
    )  # fmt: skip
    for command in commands:
        app.command(command.__name__)(guarded(command))
    worlds = typer.Typer(
        help="The learned worlds: what they are worth, how to make one.", no_args_is_help=True
    )
    worlds.command("list")(guarded(world.list_worlds))
    for command in (world.card, world.train, world.evaluate):
        worlds.command(command.__name__)(guarded(command))
    app.add_typer(worlds, name="world")
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from agentflow import __version__

        print(f"agentflow {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of what goes wrong; stands anywhere.")
    ] = False,
) -> None:
    """Take what holds for every command; both are dealt with before."""


if __name__ == "__main__":
    raise SystemExit(run())
