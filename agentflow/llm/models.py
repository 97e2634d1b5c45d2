"""`build_chat_model`: an entry under ``models:`` of a workflow file becomes a `ChatModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import ChatModel


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceConfig(_Config):
    """What a model costs, in USD per million tokens."""

    input_per_million_usd: float = Field(ge=0, allow_inf_nan=False)
    output_per_million_usd: float = Field(ge=0, allow_inf_nan=False)


class OpenAIConfig(_Config):
    """An OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, or a hosted one."""

    provider: Literal["openai"]
    base_url: str
    model: str
    api_key: SecretStr | None = None
    price: PriceConfig | None = None
    timeout_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    max_attempts: int = Field(default=4, ge=1)
    max_paid_attempts: int = Field(default=2, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)
    """Such as ``{temperature: 0}``."""


class LocalConfig(_Config):
    """A GGUF file on this machine."""

    provider: Literal["local"]
    path: str
    context: int = Field(default=4096, ge=256)
    threads: int | None = Field(default=None, ge=1)
    timeout_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)


class LangChainConfig(_Config):
    """A LangChain chat model that the calling program hands over; a file cannot name code to import."""

    provider: Literal["langchain"]
    price: PriceConfig | None = None


ChatModelConfig = Annotated[OpenAIConfig | LocalConfig | LangChainConfig, Field(discriminator="provider")]
_ADAPTER: TypeAdapter[OpenAIConfig | LocalConfig | LangChainConfig] = TypeAdapter(ChatModelConfig)


def build_chat_model(name: str, config: Mapping[str, Any], supplied: object = None) -> ChatModel:
    """Return the model that ``config`` describes.

    Args:
        name: what the workflow calls the model.
        config: the entry under ``models:``, its secrets filled in.
        supplied: what the calling program handed over under this name: a `ChatModel` is taken as it is,
            a LangChain chat model goes with ``provider: langchain``.

    Raises:
        InvalidInputError: the entry does not hold, or no price is known.
        MissingExtraError: a package that it needs is not installed.
    """
    if isinstance(supplied, ChatModel):
        return supplied
    match _parse(name, config):
        case OpenAIConfig() as chosen:
            from agentflow.llm.openai import OpenAIChat

            return OpenAIChat(
                name,
                chosen.base_url,
                chosen.model,
                chosen.api_key,
                chosen.price.model_dump() if chosen.price else None,
                timeout_s=chosen.timeout_s,
                max_attempts=chosen.max_attempts,
                max_paid_attempts=chosen.max_paid_attempts,
                options=chosen.options,
            )
        case LocalConfig() as chosen:
            from agentflow.llm.local import LocalLlama

            return LocalLlama(
                name,
                chosen.path,
                context=chosen.context,
                threads=chosen.threads,
                timeout_s=chosen.timeout_s,
            )
        case LangChainConfig() as chosen:
            return _langchain(name, chosen, supplied)


def _langchain(name: str, config: LangChainConfig, supplied: Any) -> ChatModel:
    from agentflow.llm.langchain import LangChainChat

    if supplied is None:
        raise InvalidInputError(
            f"models.{name}",
            "provider 'langchain' without an object",
            f"a LangChain chat model handed over by your program, as models={{{name!r}: chat_model}}; "
            "from a file alone use provider 'openai' or 'local'",
        )
    return LangChainChat(name, supplied, config.price.model_dump() if config.price else None)


def _parse(name: str, config: Mapping[str, Any]) -> OpenAIConfig | LocalConfig | LangChainConfig:
    try:
        return _ADAPTER.validate_python(dict(config))
    except ValidationError as error:
        # Values are left out: one of them may be a key.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        path = [str(part) for part in first["loc"]]
        provider = config.get("provider")
        keys = path[1:] if path and path[0] == provider else path
        where = ".".join([f"models.{name}", *keys])
        raise InvalidInputError(where, f"a mistake ({first['msg']})", _allowed(provider)) from None


def _allowed(provider: object) -> str:
    for config in (OpenAIConfig, LocalConfig, LangChainConfig):
        if provider in get_args(config.model_fields["provider"].annotation):
            return "the keys " + ", ".join(config.model_fields)
    return "provider 'openai', 'local' or 'langchain'"
