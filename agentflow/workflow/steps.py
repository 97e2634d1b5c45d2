"""The steps of a workflow file: six kinds in one shape, so that every step takes the same options."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from agentflow.core.amounts import UNLIMITED, Amounts
from agentflow.core.records import GuardAction, Hook
from agentflow.workflow.fields import (
    Amount,
    Cel,
    Count,
    CountOrExpression,
    Duration,
    Flag,
    Identifier,
    Name,
    OneOrMore,
    OwnIdentifier,
    Section,
    Text,
    WholeAmount,
    mistake,
)
from agentflow.workflow.type_specs import TypeSpec

Kind = Literal["use", "agent", "foreach", "evaluate", "approval", "workflow"]
KINDS: tuple[Kind, ...] = ("use", "agent", "foreach", "evaluate", "approval", "workflow")
_BODIES = ("use", "agent", "workflow")


class Budget(Section):
    """Caps. What is not named is not capped here; the caps around it still hold."""

    tokens: WholeAmount | None = Field(
        default=None, description="Tokens of language models, in and out.", examples=[60000]
    )
    usd: Amount | None = Field(default=None, description="Money in US dollars.", examples=[0.5])
    gpu_seconds: Amount | None = Field(
        default=None,
        description="Seconds of compute on a world's device; on a machine without a GPU, of its CPU.",
        examples=[120],
    )
    frames: WholeAmount | None = Field(default=None, description="Rendered video frames.", examples=[2000])
    wall_clock: Duration | None = Field(
        default=None, description="Time from start to end: seconds, or 90s, 15m, 24h.", examples=["15m"]
    )
    on_exhausted: Literal["stop", "pause", "degrade"] = Field(
        default="stop",
        description="At a cap: stop; pause (a person may raise it); degrade (do less, rung by rung).",
        examples=["degrade"],
    )

    def to_amounts(self) -> Amounts:
        """Return the caps in integers; `UNLIMITED` where none is named."""
        return Amounts(
            tokens=_cap(self.tokens, 1),
            micro_usd=_cap(self.usd, 1_000_000),
            gpu_ms=_cap(self.gpu_seconds, 1000),
            frames=_cap(self.frames, 1),
            wall_ms=_cap(self.wall_clock, 1000),
        )


def _cap(value: float | None, scale: int) -> int:
    return UNLIMITED if value is None else round(value * scale)


class GuardrailUse(Section):
    """A guardrail, where it looks and what its refusal means."""

    use: str = Field(description="The guardrail's name.", examples=["prompt_injection", "robot_arm.keep_out"])
    at: Annotated[tuple[Hook, ...], OneOrMore] = Field(
        min_length=1,
        description="The hook or hooks at which it looks.",
        examples=["input", ["action", "output"]],
    )
    with_: dict[str, Any] = Field(
        default_factory=dict, alias="with", description="Its parameters.", examples=[{"zone": "glass"}]
    )
    on_fail: GuardAction = Field(
        default=GuardAction.BLOCK, description="What is done when it says no.", examples=["degrade"]
    )
    on_error: Literal["closed", "open"] = Field(
        default="closed",
        description="When it raises or times out: closed blocks, open lets the step go on.",
        examples=["closed"],
    )
    reason: str | None = Field(
        default=None,
        description="Why it is there, for the manifest.",
        examples=["The glass is a customer's."],
    )


class Retry(Section):
    """How often a step is tried when it fails in a way that may pass."""

    attempts: Annotated[Count, Field(le=20)] = Field(
        default=3, description="Attempts in all, the first one included.", examples=[3]
    )
    backoff: Duration = Field(
        default=1.0,
        description="Wait before the second attempt; doubled before each further one.",
        examples=["2s"],
    )


class Agent(Section):
    """An agent that plans (it proposes, a world model predicts, scorers judge, it revises) or answers.

    With any `output` but Plan it answers: a language model reads the prompt and what `with` holds, calls tools, and
    gives a value of that type; an answer that does not fit is told back to it.
    """

    model: Name = Field(description="A name from `models`.", examples=["planner"])
    prompt: Text = Field(
        min_length=1, description="What it shall do.", examples=["Reach the goal: ${{ inputs.goal }}"]
    )
    output: TypeSpec = Field(
        default_factory=lambda: TypeSpec(type="Plan"),
        description="The type of what it gives back: Plan (also where nothing is said, whatever the model), one of "
        "`types`, or any other type; string gives the model's text as it is. All but Plan need a language model.",
        examples=["Plan", "Scene", {"type": "string", "enum": ["accept", "reject"]}],
    )
    world: Name | None = Field(
        default=None,
        description="A name from `worlds`; may be left out when there is one.",
        examples=["tabletop"],
    )
    tools: tuple[str, ...] = Field(
        default=(), description="Tools that it may call.", examples=[["robot_arm.what_if"]]
    )
    rounds: CountOrExpression = Field(
        default=3,
        description="How often it may revise its proposals at most. Of an agent that answers: how often the model is "
        "asked at most, calls of tools and answers that do not fit included; in the last round it calls none.",
        examples=[3],
    )
    candidates: CountOrExpression = Field(
        default=64, description="Candidates in each round.", examples=[64, "${{ inputs.candidates }}"]
    )
    horizon: CountOrExpression = Field(
        default=30, description="Predicted steps of each candidate.", examples=[30]
    )
    keep: CountOrExpression = Field(default=4, description="Candidates that the plan keeps.", examples=[4])
    max_tokens: Count | None = Field(
        default=None,
        description="Tokens of one answer of the language model at most; else what the model says.",
        examples=[512],
    )

    @property
    def plans(self) -> bool:
        """Whether it plans; else it answers."""
        return self.output.type == "Plan"


class Foreach(Section):
    """The step once for each item of a list; `steps.<id>.results` holds the results in the list's order."""

    in_: Cel = Field(alias="in", description="The list.", examples=["steps.plan.output.candidates"])
    as_: OwnIdentifier = Field(
        default="item", alias="as", description="The item's name in expressions.", examples=["candidate"]
    )
    max_parallel: Annotated[Count, Field(le=1000)] = Field(
        default=1, description="How many items run at the same time.", examples=[4]
    )
    on_error: Literal["fail", "collect"] = Field(
        default="fail",
        description="fail: one failed item fails the step. collect: the step goes on with the others.",
        examples=["collect"],
    )
    min_success: Annotated[Count, Field()] | None = Field(
        default=None, description="With collect: how many items must succeed.", examples=[1]
    )


class ScorerUse(Section):
    """A scorer and its parameters; its name alone will do."""

    use: str = Field(description="The scorer's name.", examples=["robot_arm.goal_distance"])
    with_: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="Its parameters.",
        examples=[{"goal": "${{ inputs.goal }}"}],
    )


def _scorer(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


class Select(Section):
    """Which of the scored items are the best."""

    by: Cel = Field(
        description="A number from the scores, which stand under their names; the highest is best.",
        examples=["-goal - 2.0 * risk"],
    )
    top: CountOrExpression = Field(default=1, description="How many are selected.", examples=[1])


class OnGateFail(Section):
    """Where the run goes on when the gate says no; after `max_loops` times the step fails."""

    goto: Identifier = Field(description="An earlier step.", examples=["plan"])
    max_loops: Annotated[Count, Field(le=100)] = Field(
        default=1, description="How often it goes back at most.", examples=[2]
    )


class Evaluate(Section):
    """Scores each item of a list, selects the best, and lets it pass a gate."""

    over: Cel = Field(description="The list.", examples=["steps.simulate.results"])
    scorers: dict[OwnIdentifier, Annotated[ScorerUse, BeforeValidator(_scorer)]] = Field(
        min_length=1,
        description="Scorers, under the names that `by` and `gate` use.",
        examples=[{"goal": "robot_arm.goal_distance"}],
    )
    select: Select | None = Field(
        default=None, description="Which items are the best.", examples=[{"by": "-goal", "top": 1}]
    )
    gate: Cel | None = Field(
        default=None, description="A condition on `best` or `selected`.", examples=["best.risk < 0.05"]
    )
    on_gate_fail: OnGateFail | None = Field(
        default=None,
        description="Without it, a failed gate fails the step.",
        examples=[{"goto": "plan", "max_loops": 2}],
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.on_gate_fail and not self.gate:
            raise mistake("`on_gate_fail` needs a `gate`.")
        return self


class Approval(Section):
    """A person's decision that the run waits for."""

    message: Text = Field(min_length=1, description="What is asked.", examples=["Render this plan?"])
    show: tuple[Cel, ...] = Field(
        default=(), description="What the person is shown.", examples=[["steps.choose.output.best"]]
    )
    answers: dict[Identifier, TypeSpec] = Field(
        default_factory=dict,
        description="What the person is asked beside yes or no; later steps read `steps.<id>.output.answers.<name>`.",
        examples=[{"fps": {"type": "integer", "default": 30, "description": "Frames per second."}}],
    )
    timeout: Duration | None = Field(default=None, description="How long the run waits.", examples=["24h"])
    on_timeout: Literal["reject", "approve"] = Field(
        default="reject", description="What then counts as decided.", examples=["reject"]
    )

    @model_validator(mode="after")
    def _answered(self) -> Self:
        open_ones = [name for name, spec in self.answers.items() if spec.required]
        if self.on_timeout == "approve" and open_ones:
            raise mistake(
                "`on_timeout: approve` leaves '{name}' without an answer; give it a default.",
                name=open_ones[0],
            )
        return self


class Step(Section):
    """One entry of a workflow. It is of exactly one kind: use, agent, foreach, evaluate, approval, workflow.

    `foreach` stands beside the `use`, `agent` or `workflow` that it repeats.
    """

    id: Identifier = Field(description="Its name; later steps read `steps.<id>.output`.", examples=["plan"])
    if_: Cel | None = Field(
        default=None,
        alias="if",
        description="The step is skipped when this is false.",
        examples=["steps.choose.output.best.goal > 0.02"],
    )
    use: str | None = Field(default=None, description="Call this tool.", examples=["robot_arm.what_if"])
    agent: Agent | None = Field(
        default=None,
        description="Let an agent plan, or answer.",
        examples=[{"model": "planner", "prompt": "…"}],
    )
    foreach: Foreach | None = Field(
        default=None,
        description="Do this for each item of a list.",
        examples=[{"in": "steps.plan.output.candidates", "as": "candidate"}],
    )
    evaluate: Evaluate | None = Field(
        default=None,
        description="Score and choose.",
        examples=[{"over": "steps.simulate.results", "scorers": {"goal": "robot_arm.goal_distance"}}],
    )
    approval: Approval | None = Field(
        default=None, description="Wait for a person.", examples=[{"message": "Render this plan?"}]
    )
    workflow: Name | None = Field(
        default=None, description="Run another workflow of this file.", examples=["render_plan"]
    )
    with_: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="Inputs of the tool, agent, scorers or workflow.",
        examples=[{"scene": "${{ inputs.scene }}"}],
    )
    world: Name | None = Field(
        default=None,
        description="The world from `worlds` that a tool is given; may be left out when there is one.",
        examples=["tabletop"],
    )
    budget: Budget | None = Field(
        default=None, description="Caps of this step.", examples=[{"gpu_seconds": 8}]
    )
    guardrails: tuple[GuardrailUse, ...] = Field(
        default=(),
        description="Guardrails of this step, beside the workflow's.",
        examples=[[{"use": "prompt_injection", "at": "input"}]],
    )
    retry: Retry | None = Field(default=None, description="Try again.", examples=[{"attempts": 3}])
    timeout: Duration | None = Field(
        default=None, description="The longest that one attempt may take.", examples=["90s"]
    )
    output: TypeSpec | None = Field(
        default=None,
        description="The type of what the tool gives back, where the tool itself does not say; it is checked.",
        examples=[{"type": "object", "fields": {"frames": "integer"}}],
    )
    cache: Flag = Field(
        default=False, description="Take the result of an earlier run with the same inputs.", examples=[True]
    )

    @property
    def kind(self) -> Kind:
        """The kind; a repeated step is a ``foreach``."""
        return "foreach" if self.foreach else self.body

    @property
    def body(self) -> Kind:
        """The kind of what is done; of a ``foreach``, what is repeated."""
        return next(kind for kind in KINDS if kind != "foreach" and getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        found = [kind for kind in KINDS if getattr(self, kind) is not None]
        bodies = [kind for kind in found if kind != "foreach"]
        if not found:
            raise mistake("a step needs one of: {kinds}.", kinds=", ".join(KINDS))
        if self.foreach and (len(bodies) != 1 or bodies[0] not in _BODIES):
            other = ", ".join(bodies) or "nothing"
            raise mistake("`foreach` repeats one of use, agent, workflow; found {other}.", other=other)
        if len(bodies) > 1:
            raise mistake(
                "a step is of one kind; found {kinds}. Make them two steps.", kinds=" and ".join(bodies)
            )
        if self.approval:
            self._check_approval()
        return self

    def _check_approval(self) -> None:
        for name, value in (
            ("with", self.with_), ("retry", self.retry), ("timeout", self.timeout), ("cache", self.cache),
            ("output", self.output),
        ):  # fmt: skip
            if value:
                hint = " Write it inside `approval`." if name == "timeout" else " Remove it."
                raise mistake("`{name}` means nothing beside an approval.{hint}", name=name, hint=hint)
