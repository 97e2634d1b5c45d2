"""`Player`: stands in for what a run calls, and answers from a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agentflow.core.amounts import Amounts
from agentflow.core.errors import ReplayError, nearest
from agentflow.core.protocols import Call
from agentflow.core.records import Artifact, Envelope, GuardAction, StepStatus
from agentflow.execution import values
from agentflow.execution.call import InnerCallError, StepCall
from agentflow.store.records import StepRecord

ANSWERED = ("use", "agent", "agent_call")
"""The kinds of calls that a record answers; the others (``foreach``, ``evaluate``, …) only put those together."""
_SHOWN = 8


class RecordedCall(BaseModel):
    """One call and its answer. ``inputs`` are as the file's expressions made them, secrets and the run's id masked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    iteration: str
    name: str
    digest: str
    inputs: dict[str, Any]
    status: StepStatus
    output: Any = None
    error: str | None = None
    error_kind: str | None = None
    usage: Amounts = Field(default_factory=Amounts)
    """What it cost; of an agent with all that it called itself."""
    rungs: list[str] = Field(default_factory=list)
    artifacts: list[Artifact] = Field(default_factory=list)


Answers = Callable[[StepCall, dict[str, Any], str], RecordedCall]
"""Says what a call of these inputs gave, in the run of this id; raises `ReplayError` where nothing is known."""


@dataclass
class Player:
    """What `RunContext.replay` asks: it returns each call with a body that gives what ``answers`` knows of it."""

    answers: Answers
    asked: list[RecordedCall] = field(default_factory=list)
    """What was given, in order."""
    misses: list[ReplayError] = field(default_factory=list)

    def __call__(self, call: StepCall) -> StepCall:
        """Return the call with its answer in the place of its body."""
        if call.kind not in ANSWERED:
            return call
        made: dict[str, Any] = {}

        def inputs() -> dict[str, Any]:
            made["inputs"] = call.inputs()
            given: dict[str, Any] = made["inputs"]
            return given

        async def body(ticket: Call, _: dict[str, Any]) -> Any:
            try:
                known = self.answers(call, made["inputs"], ticket.run_id)
            except ReplayError as error:
                self.misses.append(error)
                raise
            self.asked.append(known)
            ticket.meter.charge(known.usage.model_copy(update={"wall_ms": 0}))
            call.notes.rungs.extend(known.rungs)
            if known.status not in (StepStatus.OK, StepStatus.DEGRADED):
                raise InnerCallError(
                    known.status, known.error_kind, known.error or f"it ended as {known.status}"
                )
            files = {artifact.uri: artifact for artifact in known.artifacts}
            return _alive(values.decode(known.output, ticket.artifacts), files)

        return replace(call, inputs=inputs, body=body)


def from_steps(steps: Iterable[StepRecord], run_of: str, hidden: Mapping[str, str]) -> Answers:
    """Return answers from the records of the run ``run_of``; in what is kept of inputs, ``hidden`` texts are replaced.

    ``hidden`` maps each text, such as a secret, to what stands for it.
    """
    records = list(steps)
    known = {(step.path, step.iteration, step.input_digest): step for step in records}

    def answers(call: StepCall, inputs: dict[str, Any], run_id: str) -> RecordedCall:
        then = values.digest(_masked(inputs, {run_id: run_of}))
        step = known.get((call.path, call.iteration, then))
        if step is None:
            raise ReplayError(
                f"the run has no record of the call '{call.path}' with the inputs that it has now, so it cannot be "
                "recorded: something beside its calls did not do the same again."
            )
        masked = _masked(inputs, {**hidden, run_id: "[run]"})
        envelope = step.envelope
        inner = (
            s.envelope
            for s in records
            if s.path.startswith(f"{step.path}/") and s.iteration == step.iteration
        )
        return RecordedCall(
            path=call.path, iteration=call.iteration, name=call.name, digest=values.digest(masked), inputs=masked,
            status=envelope.status, output=envelope.output, error=envelope.error, error_kind=envelope.error_kind,
            usage=_sum([envelope, *inner] if call.kind == "agent" else [envelope]),
            rungs=_rungs(call, envelope), artifacts=envelope.artifacts,
        )  # fmt: skip

    return answers


def from_calls(calls: Iterable[RecordedCall]) -> Answers:
    """Return answers from the calls of a recording."""
    listed = list(calls)
    known = {(call.path, call.iteration, call.digest): call for call in listed}

    def answers(call: StepCall, inputs: dict[str, Any], run_id: str) -> RecordedCall:
        masked = _masked(inputs, {run_id: "[run]"})
        found = known.get((call.path, call.iteration, values.digest(masked)))
        if found is None:
            raise ReplayError(_unknown(call, masked, listed))
        return found

    return answers


def _rungs(call: StepCall, envelope: Envelope) -> list[str]:
    """Return what was given up and will not be given up again, since the recorded output is what is left.

    That is what a guardrail behind the call cut off, and what an agent gave up inside; what the budget or a guardrail
    before the call took is taken again.
    """
    cuts = [record for record in envelope.verdicts if record.action is GuardAction.DEGRADE]
    behind = {record.reason for record in cuts if record.hook == call.after and record.step == call.path}
    before = {record.reason for record in cuts} - behind
    if call.kind == "agent":
        return [rung for rung in envelope.rungs if rung not in before]
    return [rung for rung in envelope.rungs if rung in behind]


def _sum(envelopes: Iterable[Envelope]) -> Amounts:
    total = Amounts()
    for envelope in envelopes:
        total = total.plus(envelope.usage)
    return total


def _masked(value: Any, hidden: Mapping[str, str]) -> Any:
    match value:
        case str():
            for text, stands in hidden.items():
                value = value.replace(text, stands) if text else value
            return value
        case list():
            return [_masked(item, hidden) for item in value]
        case dict():
            return {name: _masked(item, hidden) for name, item in value.items()}
    return value


def _alive(value: Any, files: Mapping[str, Artifact]) -> Any:
    """Return an output with the files that its call made as such, so that the replay's record names them too."""
    match value:
        case {"artifact": str(uri), "type": "file"} if uri in files:
            return files[uri]
        case list():
            return [_alive(item, files) for item in value]
        case dict():
            return {name: _alive(item, files) for name, item in value.items()}
    return value


def _unknown(call: StepCall, inputs: dict[str, Any], known: list[RecordedCall]) -> str:
    """Return what to say of a call that was not recorded: the nearest one, and how its inputs differ."""
    paths = sorted({each.path for each in known})
    head = f"the call '{call.path}' ({call.name}, pass {call.iteration or 0}) was not recorded"
    same = [each for each in known if each.path == call.path]
    if not same:
        near = nearest(call.path, paths)
        return f"{head}: no call of this step was.{near} Recorded: {', '.join(paths) or 'none'}."
    differing = [(_differences(each.inputs, inputs), each.iteration != call.iteration, each) for each in same]
    lines, _, closest = min(differing, key=lambda one: (len(one[0]), one[1]))
    if not lines:
        lines = [f"pass: recorded {closest.iteration or 0}, now {call.iteration or 0}"]
    more = [f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    listing = "".join(f"\n  {line}" for line in lines[:_SHOWN] + more)
    return (
        f"{head} with these inputs. The nearest recorded is '{closest.path}' (pass {closest.iteration or 0}), "
        f"which differs in:{listing}\nIf the change is meant, record the workflow again."
    )


def _differences(old: Any, new: Any) -> list[str]:
    """Return one line for each place at which two JSON values differ."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{place}: recorded {before.get(place, 'nothing')}, now {after.get(place, 'nothing')}"
        for place in dict.fromkeys([*before, *after])
        if before.get(place) != after.get(place)
    ]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]")
    else:
        text = json.dumps(value, ensure_ascii=False)
        yield place or "(all)", text if len(text) <= 80 else f"{text[:77]}…"
