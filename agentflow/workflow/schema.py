"""`FileSpec`: what `workflows.yaml` may hold. The editor's schema is generated from these classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from agentflow.core.records import digest_of
from agentflow.workflow.fields import (
    Amount,
    Count,
    Duration,
    Flag,
    Identifier,
    Name,
    Number,
    Section,
    Text,
    mistake,
)
from agentflow.workflow.steps import Budget, GuardrailUse, Retry, Step
from agentflow.workflow.type_specs import OwnTypeName, TypeSpec


class Price(Section):
    """What a model costs, where `genai-prices` does not know it; 0 for one that runs on your own machine."""

    input_usd_per_million: Amount = Field(
        description="US dollars for a million input tokens.", examples=[0.15]
    )
    output_usd_per_million: Amount = Field(
        description="US dollars for a million output tokens.", examples=[0.6]
    )


class EmbeddedModel(Section):
    """No language model: a parser of goal sentences, and search over the world model."""

    provider: Literal["embedded"] = Field(description="The planner in the box.", examples=["embedded"])


class OpenAIModel(Section):
    """An OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, or a hosted one."""

    provider: Literal["openai"] = Field(description="An OpenAI-compatible endpoint.", examples=["openai"])
    model: str = Field(min_length=1, description="The model's name there.", examples=["qwen3-8b"])
    base_url: Annotated[str, Field(pattern=r"^https?://")] = Field(
        default="https://api.openai.com/v1",
        description="The endpoint.",
        examples=["http://localhost:8000/v1"],
    )
    api_key: Text | None = Field(
        default=None, description="A secret; never the key itself.", examples=["${{ secrets.PLANNER_KEY }}"]
    )
    max_tokens: Count = Field(default=1024, description="Tokens of one answer at most.", examples=[1024])
    temperature: Annotated[Number, Field(ge=0, le=2)] = Field(
        default=0.0, description="0 is the most repeatable.", examples=[0.2]
    )
    timeout: Duration = Field(
        default=60.0, description="The longest that one answer may take.", examples=["60s"]
    )
    price: Price | None = Field(
        default=None,
        description="Its price, where it is not a known one.",
        examples=[{"input_usd_per_million": 0, "output_usd_per_million": 0}],
    )


class LangChainModel(Section):
    """A LangChain chat model that the calling program hands over (extra `langchain`); a file names no code."""

    provider: Literal["langchain"] = Field(description="A LangChain chat model.", examples=["langchain"])
    price: Price | None = Field(
        default=None,
        description="Its price, where it is not a known one.",
        examples=[{"input_usd_per_million": 0, "output_usd_per_million": 0}],
    )


class LocalModel(Section):
    """A GGUF file that runs in this process (extra `local-llm`)."""

    provider: Literal["local"] = Field(description="A GGUF file.", examples=["local"])
    path: str = Field(
        min_length=1, description="The file, from the folder of this one.", examples=["models/small.gguf"]
    )
    context_tokens: Count = Field(default=4096, description="Tokens of its context.", examples=[4096])
    max_tokens: Count = Field(default=1024, description="Tokens of one answer at most.", examples=[1024])
    temperature: Annotated[Number, Field(ge=0, le=2)] = Field(
        default=0.0, description="0 is the most repeatable.", examples=[0.2]
    )


ModelSpec = Annotated[
    EmbeddedModel | OpenAIModel | LangChainModel | LocalModel, Field(discriminator="provider")
]


class WorldSpec(Section):
    """A world: one that is installed (`use`), or one that a server gives (`url`)."""

    use: str | None = Field(default=None, description="The world's name.", examples=["tabletop"])
    url: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        default=None, description="A world server's address.", examples=["http://gpu-box:8400/tabletop"]
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where it runs; auto takes a GPU when there is one.", examples=["auto"]
    )
    weights: str | None = Field(
        default=None,
        description="Other weights than the shipped ones: a file.",
        examples=["weights/tabletop"],
    )
    api_key: Text | None = Field(
        default=None, description="A secret for the server.", examples=["${{ secrets.WORLD_KEY }}"]
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.use is None) == (self.url is None):
            raise mistake("a world needs `use` (an installed one) or `url` (a server), and not both.")
        if self.url and (self.weights or "device" in self.model_fields_set):
            raise mistake("`device` and `weights` are the server's business; remove them beside `url`.")
        if self.use and self.api_key:
            raise mistake("`api_key` goes with `url`; an installed world needs none.")
        return self


InputSpec = TypeSpec
"""An input of a workflow: its type. Without a default it must be given."""


def _long_form(value: Any) -> Any:
    """Return an output in its long form; a mapping is one when it has no keys but those of the long form."""
    if isinstance(value, dict) and "value" in value and set(value) <= {"value", "type", "description"}:
        return value
    return {"value": value}


class OutputSpec(Section):
    """An output of a workflow. Its value alone will do where its type is not to be checked."""

    value: Any = Field(
        description="A value in which every `${{ … }}` is replaced.",
        examples=["${{ steps.render.output.video }}"],
    )
    type: TypeSpec | None = Field(
        default=None, description="Its type; a run whose output does not fit it fails.", examples=["number"]
    )
    description: str = Field(default="", description="What it is, for people.", examples=["The film."])


class Defaults(Section):
    """What the steps of a file take where they say nothing themselves."""

    budget: Budget | None = Field(
        default=None,
        description="Caps of a run of each workflow that has no `budget` of its own.",
        examples=[{"usd": 1.0, "wall_clock": "1h"}],
    )
    guardrails: tuple[GuardrailUse, ...] = Field(
        default=(),
        description="Guardrails of every workflow, before its own.",
        examples=[[{"use": "prompt_injection", "at": "input"}]],
    )
    retry: Retry | None = Field(
        default=None,
        description="How often a tool or agent is tried again.",
        examples=[{"attempts": 3, "backoff": "2s"}],
    )
    timeout: Duration | None = Field(
        default=None, description="The longest that one attempt of a tool or agent may take.", examples=["5m"]
    )
    cache: Flag | None = Field(
        default=None,
        description="Whether tools and agents take the result of an earlier run with the same inputs.",
        examples=[True],
    )
    max_parallel: Annotated[Count, Field(le=1000)] | None = Field(
        default=None, description="How many items of a `foreach` run at the same time.", examples=[4]
    )
    on_error: Literal["fail", "collect"] | None = Field(
        default=None,
        description="Whether one failed item fails a `foreach`, or the others go on.",
        examples=["collect"],
    )


class Workflow(Section):
    """A workflow: its inputs, its caps and guardrails, its steps in order, what it gives back."""

    description: str = Field(
        default="", description="What it does, for people.", examples=["Push a block to a target."]
    )
    inputs: dict[Identifier, InputSpec] = Field(
        default_factory=dict,
        description="What a run is given; expressions read `inputs.<name>`.",
        examples=[{"goal": {"type": "string", "max_length": 500}}],
    )
    budget: Budget = Field(
        default_factory=Budget, description="Caps of a whole run.", examples=[{"tokens": 60000, "usd": 0.5}]
    )
    guardrails: tuple[GuardrailUse, ...] = Field(
        default=(),
        description="Guardrails of every step.",
        examples=[[{"use": "prompt_injection", "at": "input", "on_fail": "block"}]],
    )
    steps: tuple[Step, ...] = Field(
        min_length=1,
        description="The steps, in order.",
        examples=[[{"id": "look", "use": "robot_arm.render"}]],
    )
    outputs: dict[Identifier, Annotated[OutputSpec, BeforeValidator(_long_form)]] = Field(
        default_factory=dict,
        description="What a run gives back: values, or `{value: …, type: …}` where the type is to be checked.",
        examples=[
            {
                "video": "${{ steps.render.output.video }}",
                "distance_m": {"value": "${{ steps.verify.output.true_distance_m }}", "type": "number"},
            }
        ],
    )

    def step(self, step_id: str) -> Step:
        """Return a step by its id."""
        return next(step for step in self.steps if step.id == step_id)

    def output_values(self) -> dict[str, Any]:
        """Return the values of the outputs, in which ``${{ … }}`` is still to be replaced."""
        return {name: output.value for name, output in self.outputs.items()}


def _version(value: Any) -> Any:
    if value == "1":
        raise mistake(
            "this agentflow reads version 1, a number. Write 'version: 1' without quotes around the 1."
        )
    if value != 1 or isinstance(value, bool):
        raise mistake("this agentflow reads version 1. Write 'version: 1'.")
    return value


class FileSpec(Section):
    """An agentflow workflow file."""

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(
        description="The version of this format.", examples=[1]
    )
    models: dict[Name, ModelSpec] = Field(
        default_factory=dict,
        description="Language models, under names that agents use.",
        examples=[{"planner": {"provider": "embedded"}}],
    )
    worlds: dict[Name, WorldSpec] = Field(
        default_factory=dict,
        description="Worlds, under names that agents and tools use.",
        examples=[{"tabletop": {"use": "tabletop", "device": "auto"}}],
    )
    types: dict[OwnTypeName, TypeSpec] = Field(
        default_factory=dict,
        description="Types, under names that inputs, outputs, answers and agents use.",
        examples=[
            {
                "Scene": {
                    "type": "object",
                    "fields": {"seed": "integer", "label": {"type": "string", "optional": True}},
                }
            }
        ],
    )
    defaults: Defaults = Field(
        default_factory=Defaults,
        description="What steps and workflows take where they say nothing themselves.",
        examples=[{"retry": {"attempts": 3}, "timeout": "5m", "max_parallel": 4}],
    )
    workflows: dict[Name, Workflow] = Field(
        min_length=1,
        description="The workflows, by name.",
        examples=[{"look": {"steps": [{"id": "film", "use": "robot_arm.render"}]}}],
    )


def definition(section: Section) -> dict[str, Any]:
    """Return what a section says, as JSON without what goes without saying.

    So a run that was begun before an option came into the language goes on after it.
    """
    return section.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def workflow_digest(workflow: Workflow) -> str:
    """Return the sha256 of a workflow's canonical JSON: two files that mean the same have the same digest."""
    return digest_of(definition(workflow))
