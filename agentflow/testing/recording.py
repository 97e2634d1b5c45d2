"""A recorded run that replays offline: `record` writes one small file, `replay` runs the workflow against it.

What is recorded are the answers of everything that a run called: tools, agents, and with an agent all that it called
itself. A replay compiles the workflow as it stands now and runs it as any run, guardrails, budget, expressions,
scorers and gates included; only the calls themselves are answered from the recording. A call that was not recorded is
an error, whatever the workflow does about failing steps.
"""

from __future__ import annotations

import base64
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentflow.core.errors import InvalidInputError, ReplayError
from agentflow.core.records import RunStatus
from agentflow.sdk import Agentflow, RunResult
from agentflow.testing.player import Player, RecordedCall, from_calls, from_steps
from agentflow.tracing.export import Exporters
from agentflow.workflow.workshop import Workshop

KEPT_BYTES = 65_536
"""Up to this size a file is kept within the recording; larger ones are named by their digest, but rollouts always."""


class Decision(BaseModel):
    """What a person decided, and where in the run it was asked."""

    model_config = ConfigDict(frozen=True)

    path: str
    iteration: str
    kind: str
    decision: str
    by: str = ""
    comment: str = ""
    answers: dict[str, Any] | None = None


class Recording(BaseModel):
    """A run as it can be replayed: what it was given, what its calls answered, how it ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agentflow_recording: Literal[1] = 1
    workflow: str
    seed: int
    inputs: dict[str, Any]
    status: RunStatus
    outputs: Any = None
    error: str | None = None
    calls: list[RecordedCall]
    decisions: list[Decision] = Field(default_factory=list)
    """What people decided, in order."""
    files: dict[str, str] = Field(default_factory=dict)
    """Files by their reference: base64 of their bytes, deflated."""

    def save(self, path: Path) -> None:
        """Write the recording."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recording.

        Raises:
            InvalidInputError: the file is none, or of another version.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            first = str(error).splitlines()[0]
            raise InvalidInputError(f"recording {path}", first, "a file that `record` wrote") from error


def record(flow: Agentflow, run_id: str, path: Path | None = None) -> Recording:
    """Make a recording of a run that has ended, and write it to ``path``.

    It is replayed once while it is made, which also shows that it can be.

    Raises:
        InvalidInputError: the run has not ended, was cancelled, or its workflow has changed since.
        ReplayError: it does not replay: it ends in another way, or asks for what no record holds.
    """
    run = flow.get(run_id)
    if run.status in (RunStatus.RUNNING, RunStatus.WAITING, RunStatus.CANCELLED):
        raise InvalidInputError(f"run {run_id}", f"status '{run.status}'", "a run that has come to its end")
    if run.digest != flow.project.file.digest(run.workflow):
        raise InvalidInputError(
            f"run {run_id}", "a workflow that has changed since", "the workflow as it was then"
        )
    shop = flow.workshop
    steps = shop.store.steps(run_id)
    decisions = _decisions(flow, run_id)
    player = Player(from_steps(steps, run_id, _hidden(shop)))
    with tempfile.TemporaryDirectory() as folder:
        dry = Workshop(shop.project, Path(folder), secrets=shop.secrets)
        dry.artifacts = shop.artifacts
        with Agentflow(dry) as again:
            result = _through(again, player, run.workflow, run.seed, run.inputs, decisions)
    if result.status != run.status:
        raise ReplayError(
            f"run {run_id} does not replay: it ended as {run.status}, its replay as {result.status}"
            + (f" ({result.error})" if result.error else "")
            + ". Something beside its calls, such as a guardrail or a scorer, did not do the same again."
        )
    recording = Recording(
        workflow=run.workflow,
        seed=run.seed,
        inputs=run.inputs,
        status=run.status,
        outputs=run.outputs,
        error=run.error,
        calls=player.asked,
        decisions=decisions,
        files=_files(shop, [run.inputs, *(call.output for call in player.asked)]),
    )
    if path is not None:
        recording.save(path)
    return recording


def replay(
    recording: Recording | Path, project: Path | str = "workflows.yaml", *, folder: Path | None = None
) -> RunResult:
    """Run the recorded workflow of ``project`` again, with every call answered from the recording.

    No tool, model or world is called, and no secret is needed; guardrails, scorers and expressions run as they are now.

    Args:
        recording: a `Recording`, or the file that holds one.
        project: the workflow file, or its folder.
        folder: where the replay leaves its own records; by default a new temporary folder.

    Raises:
        ReplayError: the workflow made a call that was not recorded; it names the nearest that was, and how their
            inputs differ.
        WorkflowFileError: the project does not hold.
    """
    kept = recording if isinstance(recording, Recording) else Recording.load(recording)
    place = folder or Path(tempfile.mkdtemp(prefix="agentflow-replay-"))
    with Agentflow.open(project, folder=place, secrets=_Placeholders()) as flow:
        for packed in kept.files.values():
            flow.workshop.artifacts.put(
                zlib.decompress(base64.b64decode(packed)), "application/octet-stream", "kept"
            )
        player = Player(from_calls(kept.calls))
        return _through(flow, player, kept.workflow, kept.seed, kept.inputs, kept.decisions)


def _through(
    flow: Agentflow,
    player: Player,
    workflow: str,
    seed: int,
    inputs: dict[str, Any],
    decisions: list[Decision],
) -> RunResult:
    flow.workshop.exporters.close()
    flow.workshop.exporters = Exporters()  # a replay is no run that anybody should see elsewhere
    flow.workshop.replay = player
    left = list(decisions)
    result = flow.run(workflow, seed=seed, **inputs)
    while result.status == RunStatus.WAITING:
        said = _said(left, result)
        left.remove(said)
        result = flow.decide(
            result.run_id, said.decision, by=said.by, comment=said.comment, answers=said.answers, approval=said.path
        )  # fmt: skip
    if player.misses:
        raise player.misses[0]
    return result


def _said(left: list[Decision], result: RunResult) -> Decision:
    """Return the recorded decision on one of the questions that a run waits for."""
    for asked in result.questions:
        for said in left:
            if (said.path, said.iteration, said.kind) == (asked.path, asked.iteration, asked.kind):
                return said
    places = ", ".join(f"'{asked.path}'" for asked in result.questions)
    raise ReplayError(f"step {places} asks for a decision that was not recorded.")


class _Placeholders(Mapping[str, str]):
    """Any secret: its placeholder. With these a replay's inputs are what `record` masked."""

    def __getitem__(self, name: str) -> str:
        return _placeholder(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _placeholder(name: str) -> str:
    return f"[secret {name}]"


def _hidden(shop: Workshop) -> dict[str, str]:
    """Return the values of the file's secrets, each with what stands for it."""
    return {value: _placeholder(name) for name, value in shop.named_secrets().items()}


def _decisions(flow: Agentflow, run_id: str) -> list[Decision]:
    """Return what people decided in a run, in order."""
    decided = [asked for asked in flow.approvals(run_id, open_only=False) if asked.decision is not None]
    return [
        Decision.model_validate(asked.model_dump(include=set(Decision.model_fields))) for asked in decided
    ]


def _files(shop: Workshop, held: list[Any]) -> dict[str, str]:
    """Return the files that values refer to, packed: rollouts, which guardrails read, and what is small."""
    packed: dict[str, str] = {}
    for uri, kind in _references(held):
        try:
            data = shop.artifacts.path(uri).read_bytes()
        except (InvalidInputError, OSError):  # named by a value, and not there
            continue
        if kind == "rollout" or len(data) <= KEPT_BYTES:
            packed[uri] = base64.b64encode(zlib.compress(data)).decode()
    return packed


def _references(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("artifact"), str):
            yield value["artifact"], str(value.get("type"))
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
