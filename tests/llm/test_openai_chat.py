"""`OpenAIChat` over real HTTP on loopback: answers, failures, repetitions, and what they cost."""

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, ModelError, UnknownNameError
from agentflow.core.protocols import ChatModel, Completion, Message, ToolCall
from agentflow.llm.openai import OpenAIChat
from agentflow.testing import ScriptedLLMServer

HI = [Message(role="user", content="hi")]
PRICE = {"input_per_million_usd": 2, "output_per_million_usd": 10}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
MOVE = {"type": "function", "function": {"name": "move", "parameters": {"type": "object"}}}


class Waits:
    """Stands in for the clock: notes how long a client would have waited."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)


def chat_at(server, **options):
    return OpenAIChat("planner", server.base_url, "tiny", **{"price": PRICE, "sleep": Waits(), **options})


def ask(chat, **options):
    return asyncio.run(chat.complete(HI, **options))


def failure_of(chat, **options):
    with pytest.raises(ModelError) as caught:
        ask(chat, **options)
    return caught.value


def test_an_answer_carries_its_text_and_its_measured_cost():
    with ScriptedLLMServer() as server:
        server.reply("hello", usage=(100, 7))
        chat = chat_at(server)
        assert isinstance(chat, ChatModel)
        assert ask(chat) == Completion(
            text="hello",
            usage=Amounts(tokens=107, micro_usd=270),
            input_tokens=100,
            output_tokens=7,
            model="tiny",
            finish_reason="stop",
        )
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 1024,
    }


def test_options_and_the_key_are_sent():
    with ScriptedLLMServer() as server:
        server.reply("ok")
        ask(chat_at(server, api_key="k-123", options={"temperature": 0, "seed": 1}))
    request = server.requests[0]
    assert request.headers["authorization"] == "Bearer k-123"
    assert (request.body["temperature"], request.body["seed"]) == (0, 1)


def test_an_option_that_would_multiply_the_cost_is_refused():
    with pytest.raises(UnknownNameError, match=r"option of models\.planner 'n'"):
        OpenAIChat("planner", "http://localhost:1", "tiny", options={"n": 8})


def test_an_address_without_a_path_gets_v1():
    with ScriptedLLMServer() as server:
        server.reply("ok")
        ask(OpenAIChat("planner", server.base_url.removesuffix("/v1"), "tiny"))
    assert server.requests[0].path == "/v1/chat/completions"


def test_a_schema_is_sent_and_its_object_is_in_data():
    with ScriptedLLMServer() as server:
        server.json({"x": 3})
        assert ask(chat_at(server), schema=SCHEMA).data == {"x": 3}
    assert server.requests[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }


def test_an_object_in_a_markdown_fence_is_read():
    with ScriptedLLMServer() as server:
        server.reply('```json\n{"x": 3}\n```')
        assert ask(chat_at(server), schema=SCHEMA).data == {"x": 3}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the answer is 3", "not JSON"),
        ("", "empty text"),
        ("[3]", "a JSON array"),
        ('{"y": 3}', "without the required 'x'"),
        ('{"x": NaN}', "NaN is no JSON number"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_answer_is_asked_for_once_more_and_both_are_booked(text, reason):
    with ScriptedLLMServer() as server:
        server.reply(text, usage=(10, 4)).reply(text, usage=(10, 6))
        error = failure_of(chat_at(server), schema=SCHEMA)
    assert reason in error.problem
    assert len(server.requests) == 2
    assert (error.spent_tokens, error.retryable) == (30, True)


def test_a_malformed_answer_before_a_good_one_is_in_the_usage():
    with ScriptedLLMServer() as server:
        server.reply("nonsense", usage=(10, 4)).json({"x": 1}, usage=(10, 6))
        answer = ask(chat_at(server), schema=SCHEMA)
    assert answer.data == {"x": 1}
    assert answer.usage == Amounts(tokens=30, micro_usd=140)
    assert (answer.input_tokens, answer.output_tokens, answer.usage_measured) == (20, 10, True)


def test_an_object_that_the_cap_cut_off_is_not_asked_for_again():
    with ScriptedLLMServer() as server:
        server.reply('{"x": 1', usage=(10, 8), finish_reason="length")
        error = failure_of(chat_at(server), schema=SCHEMA, max_tokens=8)
    assert "`max_tokens` cut it off" in error.problem
    assert (len(server.requests), error.spent_tokens, error.retryable) == (1, 18, False)


def test_a_malformed_body_is_booked_at_its_bound():
    with ScriptedLLMServer() as server:
        server.malformed_body()
        chat = chat_at(server, max_paid_attempts=1)
        assert failure_of(chat).spent_tokens == chat.estimate(HI, 1024).tokens


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": [1]}}]},
        {"choices": [{"message": {"tool_calls": [{"id": "a"}]}}]},
    ],
)
def test_a_body_of_another_shape_is_malformed(body):
    with ScriptedLLMServer() as server:
        server.malformed_body(json.dumps(body).encode())
        error = failure_of(chat_at(server, max_paid_attempts=1))
    assert "the answer cannot be used: a " in error.problem


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5}, (5, True)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}, (30, True)),
        ({"prompt_tokens": 10, "completion_tokens": 0}, (9, False)),
        ({"prompt_tokens": "10", "completion_tokens": 5}, (9, False)),
        ({"prompt_tokens": -10, "completion_tokens": 5}, (9, False)),
        ("a lot", (9, False)),
    ],
)
def test_only_usage_that_can_be_true_is_believed(usage, counted):
    body = {"choices": [{"message": {"content": "hello"}}], "usage": usage}
    with ScriptedLLMServer() as server:
        server.malformed_body(json.dumps(body).encode())
        answer = ask(chat_at(server), max_tokens=9)
    assert (answer.output_tokens, answer.usage_measured) == counted
    assert answer.usage.tokens == answer.input_tokens + answer.output_tokens
    assert (answer.input_tokens == 10) is answer.usage_measured


def test_a_model_that_declines_is_not_asked_again():
    body = {"choices": [{"message": {"content": None, "refusal": "not that"}}]}
    with ScriptedLLMServer() as server:
        server.malformed_body(json.dumps(body).encode())
        error = failure_of(chat_at(server), schema=SCHEMA)
    assert "the model declined: not that" in error.problem
    assert (len(server.requests), error.retryable) == (1, False)


def test_an_answer_without_usage_costs_its_upper_bound():
    with ScriptedLLMServer() as server:
        server.reply("hello", usage=None).reply("hello", usage=(0, 0))
        chat = chat_at(server, max_paid_attempts=1)
        for answer in (ask(chat), ask(chat)):
            assert answer.usage == chat.estimate(HI, 1024)
            assert answer.usage.micro_usd > 0
            assert not answer.usage_measured


def test_tool_calls_are_parsed_and_sent_back_as_the_endpoint_wrote_them():
    call = ToolCall(id="call_0", name="move", arguments={"dx": 0.1})
    with ScriptedLLMServer() as server:
        server.tool_calls(("move", {"dx": 0.1})).reply("done")
        chat = chat_at(server)
        answer = ask(chat, tools=[MOVE], schema=SCHEMA)
        assert (answer.tool_calls, answer.data) == ((call,), None)
        told = [
            *HI,
            Message(role="assistant", tool_calls=answer.tool_calls),
            Message(role="tool", content="moved", tool_call_id="call_0"),
        ]
        assert asyncio.run(chat.complete(told, tools=[MOVE])).text == "done"
    assert server.requests[0].body["tools"] == [MOVE]
    assert server.requests[1].body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "move", "arguments": '{"dx": 0.1}'},
                }
            ],
        },
        {"role": "tool", "content": "moved", "tool_call_id": "call_0"},
    ]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (("move", '{"dx": '), "arguments of the tool 'move': text that is not JSON"),
        (("move", "[1]"), "that are not an object"),
        (("fire", {}), "the tool 'fire', which was not offered"),
    ],
)
def test_a_tool_call_that_cannot_be_made_is_an_error_with_what_it_cost(call, reason):
    with ScriptedLLMServer() as server:
        server.tool_calls(call, usage=(20, 5))
        error = failure_of(chat_at(server, max_paid_attempts=1), tools=[MOVE])
    assert reason in error.problem
    assert error.spent_tokens == 25


def test_refusals_are_repeated_with_growing_waits_and_cost_nothing():
    waits = Waits()
    with ScriptedLLMServer() as server:
        server.status(429).status(503).status(500).reply("hello", usage=(10, 5))
        assert ask(chat_at(server, sleep=waits)).usage.tokens == 15
    assert len(server.requests) == 4
    bounds = [(0.25, 0.5), (0.5, 1.0), (1.0, 2.0)]
    assert all(low <= wait <= high for wait, (low, high) in zip(waits.seconds, bounds, strict=True))


def test_retry_after_is_kept_in_seconds_and_capped():
    waits = Waits()
    with ScriptedLLMServer() as server:
        server.status(429, retry_after=7).status(429, retry_after=86400).reply("hello")
        ask(chat_at(server, sleep=waits))
    assert waits.seconds == [7.0, 60.0]


def test_retry_after_is_read_as_a_date_too_and_nonsense_is_passed_over():
    waits = Waits()
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    with ScriptedLLMServer() as server:
        server.status(429, retry_after=tomorrow).status(429, retry_after="soon").reply("hello")
        ask(chat_at(server, sleep=waits))
    assert waits.seconds[0] == 60.0
    assert 0.5 <= waits.seconds[1] <= 1.0


def test_attempts_end_at_their_number():
    with ScriptedLLMServer() as server:
        server.status(429).status(429)
        error = failure_of(chat_at(server, max_attempts=2))
    assert "answered 429: scripted failure (after 2 attempts)" in error.problem
    assert (error.spent_tokens, error.retryable) == (0, True)


@pytest.mark.parametrize("code", [400, 401, 404, 422])
def test_what_waiting_cannot_mend_is_not_repeated(code):
    with ScriptedLLMServer() as server:
        server.status(code, message="no")
        error = failure_of(chat_at(server))
    assert (len(server.requests), error.retryable, error.spent_tokens) == (1, False, 0)
    assert f"answered {code}: no" in error.problem


def test_an_empty_account_is_not_asked_again():
    with ScriptedLLMServer() as server:
        server.status(429, error_code="insufficient_quota")
        error = failure_of(chat_at(server))
    assert "Top up the account" in str(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize("start", ["", "half an answer"])
def test_a_dropped_connection_is_repeated_and_counted_at_its_bound(start):
    with ScriptedLLMServer() as server:
        server.drop(start).reply("hello", usage=(10, 5))
        chat = chat_at(server)
        answer = ask(chat)
        one = chat.estimate(HI, 1024).tokens // 2
    assert answer.usage.tokens == one + 15
    assert not answer.usage_measured


def test_a_connection_that_is_dropped_again_and_again_never_costs_more_than_the_estimate():
    with ScriptedLLMServer() as server:
        server.drop().drop().drop()
        chat = chat_at(server)
        error = failure_of(chat)
        assert error.spent_tokens == chat.estimate(HI, 1024).tokens
    assert len(server.requests) == 2


def test_a_stalled_endpoint_ends_by_the_read_timeout():
    with ScriptedLLMServer() as server:
        server.stall().stall("half")
        error = failure_of(chat_at(server, timeout_s=0.2))
    assert "sent nothing for 0.2 s" in error.problem
    assert "Raise `timeout_s`" in str(error)
    assert len(server.requests) == 2


def test_an_endpoint_that_is_not_there_is_named_and_costs_nothing():
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        waits = Waits()
        error = failure_of(OpenAIChat("planner", address, "tiny", sleep=waits))
    assert address in error.problem
    assert (error.spent_tokens, error.retryable, len(waits.seconds)) == (0, True, 3)


def test_a_key_shows_up_in_no_error_and_no_repr():
    key = "sk-very-secret"
    with ScriptedLLMServer() as server:
        server.status(401, message=f"Incorrect API key provided: {key}")
        chat = chat_at(server, api_key=key)
        error = failure_of(chat)
    assert "Incorrect API key provided: ***" in str(error)
    assert key not in f"{error!r}{chat!r}{vars(chat)}{vars(chat._endpoint)}"
    assert error.__cause__ is None


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown():
    with pytest.raises(InvalidInputError) as caught:
        OpenAIChat("planner", "http://localhost:1", "tiny", "se\ncret")
    assert "models.planner.api_key" in str(caught.value)
    assert "cret" not in str(caught.value).replace("secrets", "")


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host/v1", "http://", "http://a:b@host/v1"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(InvalidInputError, match=r"models\.planner\.base_url") as caught:
        OpenAIChat("planner", address, "tiny")
    assert "a:b" not in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True])
def test_a_timeout_that_is_none_is_refused(value):
    with pytest.raises(InvalidInputError, match=r"models\.planner\.timeout_s"):
        OpenAIChat("planner", "http://localhost:1", "tiny", timeout_s=value)


def test_a_schema_that_is_no_object_is_refused_before_anything_is_sent():
    with ScriptedLLMServer() as server, pytest.raises(InvalidInputError, match="type 'array'"):
        ask(chat_at(server), schema={"type": "array"})
    assert server.requests == []


def test_one_model_serves_several_event_loops():
    with ScriptedLLMServer() as server:
        server.reply("one").reply("two")
        chat = chat_at(server)
        assert [ask(chat).text, ask(chat).text] == ["one", "two"]


def test_an_estimate_grows_with_schema_tools_and_paid_attempts():
    chat = OpenAIChat("planner", "http://localhost:1", "tiny", price=PRICE)
    once = OpenAIChat("planner", "http://localhost:1", "tiny", price=PRICE, max_paid_attempts=1)
    plain = chat.estimate(HI, 100)
    assert plain == once.estimate(HI, 100).plus(once.estimate(HI, 100))
    assert chat.estimate(HI, 100, schema=SCHEMA).tokens > plain.tokens
    assert chat.estimate(HI, 100, tools=[MOVE]).tokens > plain.tokens
    longer = [Message(role="user", content="hié€" * 100)]
    assert chat.estimate(longer, 100).tokens - plain.tokens == 2 * (100 * len("hié€".encode()) - len("hi"))


def test_text_that_is_not_valid_unicode_is_still_sent():
    with ScriptedLLMServer() as server:
        server.reply("ok")
        odd = [Message(role="user", content="\ud800")]
        assert asyncio.run(chat_at(server).complete(odd)).text == "ok"
