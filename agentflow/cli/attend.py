"""A run at work for somebody who waits for it: followed, told about, asked where it waits."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentflow.cli import exits

if TYPE_CHECKING:
    from agentflow.cli.follow import Follower
    from agentflow.cli.summary import RunSummary
    from agentflow.sdk import Agentflow, RunResult
    from agentflow.store.records import ApprovalRecord

Action = Callable[["Agentflow", "Follower"], "RunResult"]
"""Goes through a run and tells a follower what happens."""


@dataclass(frozen=True)
class Manner:
    """How a run is shown; ``follow`` asks for progress even where little else is said."""

    as_json: bool = False
    quiet: bool = False
    follow: bool = False

    @property
    def silent(self) -> bool:
        """Whether no progress is shown."""
        return (self.as_json or self.quiet) and not self.follow

    @property
    def may_ask(self) -> bool:
        """Whether a person sits at the terminal and may be asked."""
        return not (self.as_json or self.quiet) and sys.stdin.isatty() and sys.stdout.isatty()


def attend(
    file: str, manner: Manner, action: Action, before: Callable[[Agentflow], int | None] | None = None
) -> int:
    """Open the project, do ``action`` while it is followed, show its end; ask where it waits.

    ``before`` may end it with an exit code of its own.

    Returns:
        The exit code.
    """
    from agentflow.core.errors import AgentflowError

    try:
        from agentflow.sdk import Agentflow

        with Agentflow.open(file) as flow:
            ended = None if before is None else before(flow)
            if ended is not None:
                return ended
            while True:
                result = _followed(flow, manner, action)
                if result is None:
                    return exits.CANCELLED
                summary = _told(flow, result, manner)
                decision = _asked(result.questions) if manner.may_ask else None
                if decision is None:
                    return exits.of_run(str(summary.status), getattr(result.error, "kind", None))
                action = _deciding(result.run_id, decision)
    except AgentflowError as error:
        if manner.as_json:
            print_json({"run_id": None, "status": "not_started", "outputs": None,
                        "error": {"kind": error.kind, "message": str(error)}})  # fmt: skip
        raise


def who() -> str:
    """Return the name of whoever sits here: the account's."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return "someone at the command line"


def _deciding(run_id: str, decision: str) -> Action:
    return lambda flow, follower: flow.decide(run_id, decision, by=who(), listener=follower)


def _followed(flow: Agentflow, manner: Manner, action: Action) -> RunResult | None:
    """Return the result, or None where Ctrl-C ended it, which is told."""
    from agentflow.cli.follow import follower
    from agentflow.cli.screen import console
    from agentflow.cli.summary import budget_lines
    from agentflow.core.errors import RunCancelledError
    from agentflow.workflow.runner import INTERRUPT

    # What a tool prints goes where the progress is, never between the lines of a result.
    store = flow.workshop.store
    watch = follower(console(stderr=True), quiet=manner.silent, budget=lambda run: budget_lines(store, run))
    try:
        with contextlib.redirect_stdout(sys.stderr), watch:
            return action(flow, watch)
    except KeyboardInterrupt:
        _cancelled(flow, watch, manner, "")
    except RunCancelledError as error:
        _cancelled(flow, watch, manner, "" if error.by == INTERRUPT else f" by {error.by}")
    return None


def _cancelled(flow: Agentflow, watch: Follower, manner: Manner, by: str) -> None:
    if not watch.run_id:
        exits.say("cancelled before the run began; nothing was kept.", prefix="")
        if manner.as_json:
            print_json({"run_id": None, "status": "cancelled", "outputs": None, "error": None})
        return
    done = ", ".join(watch.finished)
    kept = f"finished steps are kept ({done})" if done else "no step was finished"
    exits.say(
        f"cancelled{by}: run {watch.run_id}; {kept}. Go on with: agentflow resume {watch.run_id}", prefix=""
    )
    if manner.as_json:
        from agentflow.cli.summary import as_json, gather

        shop = flow.workshop
        print_json(as_json(gather(shop.store, shop.folder, watch.run_id)))


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
        print_json(summary.as_json(found))
    elif manner.quiet:
        print(f"{found.status} {found.run.id} {found.report or found.trace}")
        if found.run.error:
            exits.say(found.run.error)
    else:
        from agentflow.cli import screen

        screen.show(screen.console(), found)
    return found


def _asked(questions: tuple[ApprovalRecord, ...]) -> str | None:
    """Return what a person decides about the one question; None is later, or with words of their own."""
    if len(questions) != 1 or (questions[0].answers_schema or {}).get("required"):
        return None
    try:
        answer = input("Approve? [y = yes, n = no, Enter = decide later] ").strip().lower()
    except (EOFError, KeyboardInterrupt):
        return None
    return {"y": "approve", "yes": "approve", "n": "reject", "no": "reject"}.get(answer)


def print_json(value: Any) -> None:
    """Print a JSON value; what is not finite becomes null."""
    print(json.dumps(_finite(value), indent=2, default=str))


def _finite(value: Any) -> Any:
    """Return JSON without NaN, which is none."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
