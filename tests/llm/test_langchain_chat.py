"""`LangChainChat` with LangChain's own models, and with one that talks to a real server."""

import asyncio
import json

import httpx
import pytest

pytest.importorskip("langchain_core", reason="the extra langchain is not installed")

from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import InvalidToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import SecretStr

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, ModelError, UnsupportedCallError
from agentflow.core.protocols import ChatModel, Completion, Message, ToolCall
from agentflow.llm.langchain import LangChainChat
from agentflow.llm.models import build_chat_model
from agentflow.testing import ScriptedLLMServer

HI = [Message(role="user", content="hi")]
PRICE = {"input_per_million_usd": 2, "output_per_million_usd": 10}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
MOVE = {"type": "function", "function": {"name": "move", "parameters": {"type": "object"}}}
USAGE = {"input_tokens": 20, "output_tokens": 4, "total_tokens": 24}


class EndpointModel(BaseChatModel):
    """A small LangChain integration, as a provider would write one."""

    model: str = "tiny"
    base_url: str
    api_key: SecretStr = SecretStr("sk-secret")
    max_tokens: int = 10_000

    @property
    def _llm_type(self):
        return "endpoint"

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, tools=(), **kwargs):
        body = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [{"role": m.type, "content": m.content} for m in messages],
            "tools": list(tools),
        }
        answer = httpx.post(f"{self.base_url}/chat/completions", json=body, trust_env=False)
        if answer.status_code != 200:
            raise RefusedError(answer.status_code, f"key {self.api_key.get_secret_value()} was refused")
        message = answer.json()["choices"][0]["message"]
        calls, invalid = [], []
        for call in message.get("tool_calls", []):
            function = call["function"]
            try:
                arguments = json.loads(function["arguments"])
                calls.append({"id": call["id"], "name": function["name"], "args": arguments})
            except ValueError:
                bad = InvalidToolCall(
                    id=call["id"], name=function["name"], args="", error=None, type="invalid_tool_call"
                )
                invalid.append(bad)
        usage = answer.json().get("usage")
        told = AIMessage(
            message["content"] or "",
            tool_calls=calls,
            invalid_tool_calls=invalid,
            usage_metadata=usage
            and {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
            },
            response_metadata={"model_name": "tiny-1", "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=told)])


class RefusedError(Exception):
    """What a provider's client raises for an HTTP status."""

    def __init__(self, status_code, text):
        super().__init__(text)
        self.status_code = status_code


def fake(*messages, price=PRICE):
    return LangChainChat("planner", GenericFakeChatModel(messages=iter(messages)), price)


def ask(chat, messages=HI, **options):
    return asyncio.run(chat.complete(messages, **options))


def test_an_answer_carries_its_text_and_its_measured_cost():
    with ScriptedLLMServer() as server:
        server.reply("hello", usage=(20, 4))
        chat = LangChainChat("planner", EndpointModel(base_url=server.base_url), PRICE)
        assert isinstance(chat, ChatModel)
        assert ask(chat, max_tokens=77) == Completion(
            text="hello",
            usage=Amounts(tokens=24, micro_usd=80),
            input_tokens=20,
            output_tokens=4,
            model="tiny-1",
            finish_reason="stop",
        )
    assert server.requests[0].body["max_tokens"] == 77


def test_missing_usage_costs_the_upper_bound():
    chat = fake("hello")
    answer = ask(chat)
    assert answer.usage == chat.estimate(HI, 1024)
    assert not answer.usage_measured


def test_an_uncapped_answer_without_usage_costs_at_least_its_own_length():
    chat = fake("word " * 1000)
    assert ask(chat, max_tokens=8).output_tokens == 5000


def test_a_model_that_can_be_held_to_a_schema_is():
    with ScriptedLLMServer() as server:
        server.tool_calls(("answer", {"x": 3}), usage=(20, 4))
        chat = LangChainChat("planner", EndpointModel(base_url=server.base_url), PRICE)
        answer = ask(chat, schema=SCHEMA, max_tokens=50)
    assert (answer.data, answer.tool_calls, answer.usage.tokens) == ({"x": 3}, (), 24)
    assert answer.text == '{"x": 3}'
    assert server.requests[0].body["max_tokens"] == 50
    assert server.requests[0].body["tools"][0]["function"]["name"] == "answer"


def test_a_model_that_cannot_is_told_the_schema_in_words():
    answer = ask(fake(AIMessage('```json\n{"x": 3}\n```', usage_metadata=USAGE)), schema=SCHEMA)
    assert (answer.data, answer.usage.tokens, answer.usage_measured) == ({"x": 3}, 24, True)


@pytest.mark.parametrize("text", ["no object", '{"y": 1}'])
def test_a_malformed_object_is_an_error_with_what_it_cost(text):
    with pytest.raises(ModelError) as caught:
        ask(fake(AIMessage(text, usage_metadata=USAGE)), schema=SCHEMA)
    assert (caught.value.spent_tokens, caught.value.retryable) == (24, True)


def test_a_schema_answer_that_is_missing_keys_is_an_error_with_what_it_cost():
    with ScriptedLLMServer() as server:
        server.tool_calls(("answer", {"y": 3}), usage=(20, 4))
        chat = LangChainChat("planner", EndpointModel(base_url=server.base_url), PRICE)
        with pytest.raises(ModelError, match="without the required 'x'") as caught:
            ask(chat, schema=SCHEMA)
    assert caught.value.spent_tokens == 24


def test_a_stream_is_handed_on_in_pieces():
    pieces = []
    answer = ask(fake(AIMessage("one two")), on_text=pieces.append)
    assert [piece for piece in pieces if piece.strip()] == ["one", "two"]
    assert answer.text == "".join(pieces) == "one two"
    assert not answer.usage_measured


def test_an_object_is_handed_on_whole():
    pieces = []
    ask(fake('{"x": 3}'), schema=SCHEMA, on_text=pieces.append)
    assert pieces == ['{"x": 3}']


def test_tools_are_offered_and_their_calls_parsed():
    with ScriptedLLMServer() as server:
        server.tool_calls(("move", {"dx": 0.1}))
        chat = LangChainChat("planner", EndpointModel(base_url=server.base_url), PRICE)
        answer = ask(chat, tools=[MOVE])
    assert answer.tool_calls == (ToolCall(id="call_0", name="move", arguments={"dx": 0.1}),)
    assert server.requests[0].body["tools"][0]["function"]["name"] == "move"


@pytest.mark.parametrize(
    ("call", "told"),
    [(("move", '{"dx": '), "that are no JSON object"), (("fire", {}), "which was not offered")],
)
def test_a_tool_call_that_cannot_be_made_is_an_error_with_what_it_cost(call, told):
    with ScriptedLLMServer() as server:
        server.tool_calls(call, usage=(20, 4))
        chat = LangChainChat("planner", EndpointModel(base_url=server.base_url), PRICE)
        with pytest.raises(ModelError, match=told) as caught:
            ask(chat, tools=[MOVE])
    assert caught.value.spent_tokens == 24


def test_a_model_without_tools_says_so():
    with pytest.raises(UnsupportedCallError, match="'planner' does not support tools"):
        ask(fake("hello"), tools=[MOVE])


@pytest.mark.parametrize(("status", "retryable"), [(429, True), (401, False)])
def test_a_refusal_costs_nothing_and_its_error_shows_no_key(status, retryable):
    with ScriptedLLMServer() as server:
        server.status(status)
        chat = LangChainChat("planner", EndpointModel(base_url=server.base_url), PRICE)
        with pytest.raises(ModelError) as caught:
            ask(chat)
    assert (caught.value.spent_tokens, caught.value.retryable) == (0, retryable)
    assert "RefusedError: key *** was refused" in str(caught.value)
    assert "sk-secret" not in repr(chat)


def test_a_connection_that_breaks_in_the_middle_is_booked_at_its_bound():
    with ScriptedLLMServer() as server:
        server.drop("half")
        chat = LangChainChat("planner", EndpointModel(base_url=server.base_url), PRICE)
        with pytest.raises(ModelError) as caught:
            ask(chat)
        assert caught.value.spent_tokens == chat.estimate(HI, 1024).tokens


def test_every_role_reaches_the_model_and_another_is_refused():
    chat = fake("hello")
    call = ToolCall(id="c1", name="move", arguments={})
    ask(
        chat,
        [
            Message(role="system", content="s"),
            *HI,
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content="moved", tool_call_id="c1"),
        ],
    )
    with pytest.raises(InvalidInputError, match="role of a message: found 'narrator'"):
        ask(chat, [Message(role="narrator", content="once")])
    assert ToolMessage("moved", tool_call_id="c1").type == "tool"


def test_a_model_without_a_known_price_is_refused():
    with pytest.raises(InvalidInputError, match=r"models\.planner\.price"):
        fake("hello", price=None)


def test_a_model_on_ones_own_machine_needs_no_price():
    chat = LangChainChat("planner", EndpointModel(base_url="http://localhost:11434"))
    assert chat.price.source == "self-hosted"


def test_the_program_hands_its_object_over():
    model = GenericFakeChatModel(messages=iter(["hello"]))
    built = build_chat_model("planner", {"provider": "langchain", "price": PRICE}, model)
    assert ask(built).text == "hello"
