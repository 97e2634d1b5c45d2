"""An entry under `models:` becomes a chat model, or one clear error."""

import builtins

import pytest

from agentflow.core.errors import InvalidInputError, MissingExtraError
from agentflow.llm.models import build_chat_model
from agentflow.llm.openai import OpenAIChat

ENDPOINT = {"provider": "openai", "base_url": "http://localhost:8000/v1", "model": "tiny"}


def test_an_endpoint_is_built_from_its_entry():
    chat = build_chat_model("planner", {**ENDPOINT, "api_key": "k", "timeout_s": 5, "options": {"seed": 1}})
    assert isinstance(chat, OpenAIChat)
    assert (chat.name, chat.model, chat.price.source) == ("planner", "tiny", "self-hosted")


def test_a_declared_price_reaches_the_model():
    price = {"input_per_million_usd": 1, "output_per_million_usd": 2}
    chat = build_chat_model("planner", {**ENDPOINT, "price": price})
    assert (chat.price.source, chat.price.output_per_million_usd) == ("declared", 2)


def test_a_model_that_the_program_hands_over_is_taken_as_it_is():
    own = OpenAIChat("mine", "http://localhost:1", "tiny")
    assert build_chat_model("planner", {"provider": "langchain"}, supplied=own) is own


def test_a_file_alone_cannot_name_code_to_import():
    with pytest.raises(InvalidInputError, match="handed over by your program"):
        build_chat_model("planner", {"provider": "langchain"})
    with pytest.raises(InvalidInputError, match=r"models\.planner\.use: found a mistake \(Extra inputs"):
        build_chat_model("planner", {"provider": "langchain", "use": "os:system"})


def test_an_object_that_is_no_model_is_refused():
    with pytest.raises(InvalidInputError, match="found dict; allowed: a LangChain BaseChatModel object"):
        build_chat_model("planner", {"provider": "langchain"}, supplied={})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "provider 'openai', 'local' or 'langchain'"),
        ({"provider": "opnai"}, "provider 'openai', 'local' or 'langchain'"),
        ({"provider": "openai", "model": "m"}, "models.planner.base_url: found a mistake (Field required)"),
        ({**ENDPOINT, "timeout_s": -1}, "models.planner.timeout_s: found a mistake"),
        ({**ENDPOINT, "temperature": 0}, "models.planner.temperature: found a mistake (Extra inputs"),
        ({**ENDPOINT, "price": {}}, "models.planner.price.input_per_million_usd: found a mistake"),
        ({"provider": "local", "path": "x", "context": 1}, "models.planner.context: found a mistake"),
    ],
)
def test_a_mistake_in_an_entry_is_named(config, told):
    with pytest.raises(InvalidInputError) as caught:
        build_chat_model("planner", config)
    assert told in str(caught.value)


def test_a_mistake_never_shows_a_key():
    with pytest.raises(InvalidInputError) as caught:
        build_chat_model("planner", {**ENDPOINT, "api_key": ["sk-secret"], "model": 3})
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "extra", "config", "supplied"),
    [
        ("xllamacpp", "local-llm", {"provider": "local", "path": "model.gguf"}, None),
        ("langchain_core", "langchain", {"provider": "langchain"}, object()),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package, extra, config, supplied, monkeypatch, tmp_path
):
    installed = builtins.__import__

    def without_package(name, *rest):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return installed(name, *rest)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(builtins, "__import__", without_package)
    with pytest.raises(MissingExtraError, match=rf"agentflow-worlds\[{extra}\]"):
        build_chat_model("planner", config, supplied)
