"""Exit codes, and how an error becomes one clear message and one of them."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import typer

from agentflow.core.errors import AgentflowError, RunCancelledError, WorkflowFileError, exit_code_of

OK, FAILED, USER_ERROR, BUDGET, GUARDRAIL, WAITING, DEFECT, CANCELLED, READER_GONE = (
    0, 1, 2, 4, 5, 6, 70, 130, 141,
)  # fmt: skip
EXIT_CODES = {
    OK: "it worked (a run succeeded, or ended degraded but usable)",
    FAILED: "a step of the run failed, or the machine did",
    USER_ERROR: "something that you can change: an option, an input, the workflow file",
    BUDGET: "the budget was exhausted",
    GUARDRAIL: "a guardrail, or a person, said no",
    WAITING: "the run waits for a decision: agentflow approve | reject",
    DEFECT: "a defect of agentflow; a traceback was kept",
    CANCELLED: "cancelled, or Ctrl-C; agentflow resume goes on",
    READER_GONE: "whoever read the output went away",
}
OF_STATUS = {
    "succeeded": OK,
    "degraded": OK,
    "refused": GUARDRAIL,
    "exhausted": BUDGET,
    "failed": FAILED,
    "waiting": WAITING,
    "cancelled": CANCELLED,
    "queued": OK,
}


def of_run(status: str, kind: str | None) -> int:
    """Return the exit code of a run that ended as ``status``; one that failed for what it was given says so."""
    code = OF_STATUS.get(status, FAILED)
    return exit_code_of(kind) if code == FAILED and kind else code


debugging: ContextVar[bool] = ContextVar("debugging", default=False)
"""Whether ``--debug`` asks for the traceback of what goes wrong."""


def guarded(command: Callable[..., int]) -> Callable[..., None]:
    """Return ``command`` as Typer calls it: it ends with an exit code, whatever happens in it."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        raise typer.Exit(_code(lambda: command(*args, **kwargs)))

    return wrapped


def _code(action: Callable[[], int]) -> int:
    try:
        code = action()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _reader_gone()
    except KeyboardInterrupt:
        say("cancelled.")
        return CANCELLED
    except AgentflowError as error:
        if debugging.get():
            traceback.print_exc()
        complain(error)
        return error.exit_code
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if _is_usage(error):
            raise
        return _defect(error)


def complain(error: AgentflowError) -> None:
    """Print what is wrong, and what to do, on standard error."""
    if isinstance(error, WorkflowFileError):  # one line each, as compilers write them
        say(str(error), prefix="")
    elif not isinstance(error, RunCancelledError):
        say(str(error))
    else:
        say(str(error), prefix="")


def say(text: str, *, prefix: str = "error: ") -> None:
    """Print lines on standard error that can do nothing to a terminal."""
    from agentflow.cli.figures import plain

    for line in text.splitlines() or [""]:
        print(prefix + plain(line, 4000), file=sys.stderr)
        prefix = ""


def _is_usage(error: Exception) -> bool:
    return isinstance(error, typer.BadParameter.__mro__[1])  # Typer's UsageError, which has no public name


def _reader_gone() -> int:
    """Give what is still buffered to nobody, so that Python's own last flush does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return READER_GONE


def _defect(error: Exception) -> int:
    if debugging.get():
        traceback.print_exc()
    text = " ".join(str(error).split())
    where = _keep_traceback()
    say(f"a defect of agentflow: {type(error).__name__}: {text[:500]}")
    if where is not None:
        say(f"The traceback is in {where}. Please report it with that file.", prefix="")
    return DEFECT


def _keep_traceback() -> Path | None:
    try:
        handle, name = tempfile.mkstemp(prefix="agentflow-error-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"agentflow {' '.join(sys.argv[1:2])}\n{traceback.format_exc()}")
    except OSError:
        return None
    return Path(name)
