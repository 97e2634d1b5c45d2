"""`FileSpec`: what `workflows.yaml` may hold. The editor's schema is generated from these classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from agentflow.core.records import digest_of
from agentflow.workflow.fields import (
    Amount,
    Count,
    Duration,
    Identifier,
    Name,
    Number,
    Section,
    Text,
    mistake,
)
from agentflow.workflow.steps import Budget, GuardrailUse, Step

InputType = Literal["string", "integer", "number", "boolean", "object", "array"]
_ORDERED = ("integer", "number")
_LONG = ("string", "array")


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


class InputSpec(Section):
    """An input of a workflow. Without a default it must be given."""

    type: InputType = Field(description="Its type.", examples=["string"])
    description: str = Field(
        default="", description="What it is, for people.", examples=["Where the block goes."]
    )
    default: Any = Field(default=None, description="Taken when none is given.", examples=[64])
    minimum: Number | None = Field(default=None, description="The least number.", examples=[1])
    maximum: Number | None = Field(default=None, description="The greatest number.", examples=[4096])
    max_length: Annotated[int, Strict(), Field(ge=0)] | None = Field(
        default=None, description="Characters of a text, or items of an array, at most.", examples=[500]
    )
    enum: tuple[Any, ...] | None = Field(
        default=None, min_length=1, description="The only values allowed.", examples=[["fast", "careful"]]
    )

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return "default" not in self.model_fields_set

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name, types in (("minimum", _ORDERED), ("maximum", _ORDERED), ("max_length", _LONG)):
            if getattr(self, name) is not None and self.type not in types:
                allowed = " or ".join(types)
                raise mistake(
                    "`{name}` is for type {allowed}, not {type}.", name=name, allowed=allowed, type=self.type
                )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise mistake("`minimum` is above `maximum`; no number fits.")
        return self


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
    outputs: dict[Identifier, Any] = Field(
        default_factory=dict,
        description="What a run gives back.",
        examples=[{"video": "${{ steps.render.output.video }}"}],
    )

    def step(self, step_id: str) -> Step:
        """Return a step by its id."""
        return next(step for step in self.steps if step.id == step_id)


def _version(value: Any) -> Any:
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
    workflows: dict[Name, Workflow] = Field(
        min_length=1, description="The workflows, by name.", examples=[{"plan_push": {"steps": []}}]
    )


def workflow_digest(workflow: Workflow) -> str:
    """Return the sha256 of a workflow's canonical JSON: two files that mean the same have the same digest."""
    return digest_of(workflow.model_dump(mode="json", by_alias=True, exclude_none=False))
