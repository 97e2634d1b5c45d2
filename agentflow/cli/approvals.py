"""``approvals``, ``approve`` and ``reject``: what people are asked, and what they decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli.attend import Manner, attend, print_json, who
from agentflow.cli.options import DEFAULT_FILE, File, Json, Quiet, RunId

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agentflow.cli.follow import Follower
    from agentflow.sdk import Agentflow, RunResult
    from agentflow.store.records import ApprovalRecord

Which = Annotated[
    str | None,
    typer.Option("--approval", metavar="ID|STEP", help="Which one, where the run waits for several."),
]
Comment = Annotated[str, typer.Option("--comment", help="Why; kept in the run's records.")]
Answers = Annotated[
    list[str] | None,
    typer.Option(
        "--answer", metavar="NAME=VALUE", help="An answer, such as fps=30; to a budget a new cap: usd=2."
    ),
]
Digest = Annotated[
    str | None,
    typer.Option(help="Decide only if this is still what is shown: its digest, or the first 8 digits."),
]
Later = Annotated[bool, typer.Option("--later", help="Record it, and leave the run to a worker.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; else this account.")]


def approvals(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Of this run only.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is decided.")] = False,
    file: File = DEFAULT_FILE,
    as_json: Json = False,
) -> int:
    """List what people are asked: since when, until when, and how to answer."""
    from agentflow.cli.records import open_records, resolve_run

    with open_records(file) as (store, _):
        known = None if run_id is None else store.get_run(resolve_run(store, run_id)).id
        found = store.approvals(known, open_only=not everything)
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return 0
    from agentflow.cli import screen

    target = screen.console()
    if not found:
        target.print("nothing was ever asked" if everything else "nothing is asked")
    for each in found:
        beside = [other for other in found if other.run_id == each.run_id and other.decision is None]
        for line in _told(each, several=len(beside) > 1):
            target.print(line)
    return 0


def approve(
    run_id: RunId,
    approval: Which = None,
    comment: Comment = "",
    answer: Answers = None,
    digest: Digest = None,
    by: By = None,
    later: Later = False,
    file: File = DEFAULT_FILE,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Approve what a run waits for; it goes on."""
    given = _Given("approve", run_id, approval, comment, answer or (), digest, by)
    return given.leave(file, as_json) if later else attend(file, Manner(as_json, quiet), given.decide)


def reject(
    run_id: RunId,
    approval: Which = None,
    comment: Comment = "",
    digest: Digest = None,
    by: By = None,
    later: Later = False,
    file: File = DEFAULT_FILE,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Reject what a run waits for; it ends."""
    given = _Given("reject", run_id, approval, comment, (), digest, by)
    return given.leave(file, as_json) if later else attend(file, Manner(as_json, quiet), given.decide)


class _Given:
    """A decision as the command line gives it."""

    def __init__(
        self, decision: str, run: str, approval: str | None, comment: str, answers: Sequence[str],
        digest: str | None, by: str | None,
    ) -> None:  # fmt: skip
        self.decision, self.run, self.answers = decision, run, answers
        self.words: dict[str, Any] = {
            "by": by or who(),
            "comment": comment,
            "approval": approval,
            "digest": digest,
        }

    def decide(self, flow: Agentflow, follower: Follower) -> RunResult:
        """Record it, and go on with the run."""
        run_id = self._look(flow)
        return flow.decide(run_id, self.decision, listener=follower, **self.words)

    def leave(self, file: str, as_json: bool) -> int:
        """Record it, and say what is left to do."""
        from agentflow.sdk import Agentflow

        with Agentflow.open(file) as flow:
            run_id = self._look(flow)
            made = flow.record_decision(run_id, self.decision, **self.words)
            others = flow.approvals(run_id)
        if as_json:
            print_json(made.model_dump(mode="json"))
        elif others:
            print(
                f"recorded: {made.decision} {made.path}. The run waits for {len(others)} more: agentflow approvals"
            )
        else:
            print(f"recorded: {made.decision} {made.path}. A worker goes on, or: agentflow resume {run_id}")
        return 0

    def _look(self, flow: Agentflow) -> str:
        """Return the run's id, once the answers are read as what is asked wants them."""
        from agentflow.cli.records import resolve_run

        run_id = resolve_run(flow.workshop.store, self.run)
        asked = [
            each for each in flow.approvals(run_id) if self.words["approval"] in (None, each.id, each.path)
        ]
        self.words["answers"] = dict(_answer(asked[0] if asked else None, text) for text in self.answers)
        return run_id


def _answer(asked: ApprovalRecord | None, text: str) -> tuple[str, Any]:
    """Return name and value of an answer; what is asked says whether it is text or JSON.

    Raises:
        InvalidInputError: it is no ``name=value``.
    """
    from agentflow.core.errors import InvalidInputError

    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InvalidInputError("--answer", repr(text[:80]), "name=value")
    schema = ((asked.answers_schema if asked else None) or {}).get("properties", {}).get(name, {})
    if "string" in [each.get("type") for each in (schema, *schema.get("anyOf", ()))] and value != "null":
        return name, value
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):  # what does not fit is told by the approval's own check
        return name, value


def _told(asked: ApprovalRecord, *, several: bool) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    from agentflow.cli import screen
    from agentflow.cli.figures import plain
    from agentflow.cli.questions import commands_of

    sign = screen.badge({None: "waiting", "approve": "ok"}.get(asked.decision, "deny"))[:2]
    head = Text.assemble(sign, (plain(asked.run_id, 80), "bold"), "  ", plain(asked.path, 200))
    lines: list[RenderableType] = [head, Padding(Text(plain(asked.message)), (0, 0, 0, 2))]
    lines.append(Padding(screen.pairs(_facts(asked), width=8), (0, 0, 0, 2)))
    if asked.decision is None:
        lines += [Text(f"  {command}", "cyan") for command in commands_of(asked, several=several)]
    return [*lines, Text("")]


def _facts(asked: ApprovalRecord) -> list[tuple[str, RenderableType]]:
    from rich.text import Text

    from agentflow.cli import figures, screen
    from agentflow.cli.figures import plain
    from agentflow.cli.questions import answers_of

    shown = asked.shown if isinstance(asked.shown, dict) else {}
    rows = [(plain(name, 40), figures.compact(value)) for name, value in shown.items()]
    rows += [("answer", line) for line in answers_of(asked)]
    rows.append(("asked", f"{asked.asked:%Y-%m-%d %H:%M:%S} UTC"))
    if asked.decision is not None:
        rows.append((f"{asked.decision}d" if asked.decision == "approve" else "rejected", _decided(asked)))
        if asked.answers:
            rows.append(("answered", figures.compact(asked.answers)))
        if asked.comment:
            rows.append(("comment", plain(asked.comment)))
    elif asked.expires is not None:
        rows.append(("until", f"{asked.expires:%Y-%m-%d %H:%M:%S} UTC, then {asked.on_timeout}"))
    rows.append(("digest", f"{asked.digest[:16]}   approval {asked.id}"))
    return [
        (name, Text(text, screen.DIM if name in ("asked", "until", "digest") else "")) for name, text in rows
    ]


def _decided(asked: ApprovalRecord) -> str:
    from agentflow.cli.figures import plain

    when = "" if asked.decided is None else f" on {asked.decided:%Y-%m-%d %H:%M:%S} UTC"
    return f"by {plain(asked.by, 80)}{when}"
