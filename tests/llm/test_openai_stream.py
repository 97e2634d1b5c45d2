"""Streams of `OpenAIChat` over real HTTP: pieces, usage, and every way for a stream to end badly."""

import asyncio
import json

import pytest

from agentflow.core.amounts import Amounts
from agentflow.core.errors import ModelError
from agentflow.core.protocols import Message, ToolCall
from agentflow.llm.openai import OpenAIChat
from agentflow.llm.wire import StreamedAnswer, events
from agentflow.testing import ScriptedLLMServer

HI = [Message(role="user", content="hi")]
PRICE = {"input_per_million_usd": 2, "output_per_million_usd": 10}
SCHEMA = {"type": "object", "required": ["x"]}
MOVE = {"type": "function", "function": {"name": "move", "parameters": {"type": "object"}}}


async def no_wait(seconds):
    """Wait for nothing."""


def chat_at(server, **options):
    return OpenAIChat("planner", server.base_url, "tiny", price=PRICE, sleep=no_wait, **options)


def stream(chat, **options):
    pieces = []
    return pieces, asyncio.run(chat.complete(HI, on_text=pieces.append, **options))


def broken_stream(chat, **options):
    pieces = []
    with pytest.raises(ModelError) as caught:
        asyncio.run(chat.complete(HI, on_text=pieces.append, **options))
    return pieces, caught.value


def test_a_stream_is_handed_on_in_pieces_and_its_usage_is_asked_for():
    with ScriptedLLMServer() as server:
        server.reply("one two\u2028three", usage=(20, 4))
        pieces, answer = stream(chat_at(server))
    assert pieces == ["one ", "two\u2028three"]
    assert answer.text == "one two\u2028three"
    assert answer.usage == Amounts(tokens=24, micro_usd=80)
    assert (answer.usage_measured, answer.finish_reason, answer.model) == (True, "stop", "tiny")
    assert server.requests[0].body["stream_options"] == {"include_usage": True}


def test_a_stream_without_usage_costs_its_upper_bound_never_nothing():
    with ScriptedLLMServer() as server:
        server.reply("hello", usage=None)
        chat = chat_at(server, max_paid_attempts=1)
        _, answer = stream(chat)
        assert answer.usage == chat.estimate(HI, 1024)
    assert not answer.usage_measured


def test_an_object_is_streamed_and_parsed():
    with ScriptedLLMServer() as server:
        server.json({"x": 3})
        pieces, answer = stream(chat_at(server), schema=SCHEMA)
    assert answer.data == {"x": 3}
    assert "".join(pieces) == '{"x": 3}'


def test_streamed_tool_calls_are_put_together():
    with ScriptedLLMServer() as server:
        server.tool_calls(("move", {"dx": 0.1}), ("move", {"dx": -0.1}), usage=(30, 9))
        pieces, answer = stream(chat_at(server), tools=[MOVE])
    assert pieces == []
    assert answer.tool_calls == (
        ToolCall(id="call_0", name="move", arguments={"dx": 0.1}),
        ToolCall(id="call_1", name="move", arguments={"dx": -0.1}),
    )
    assert answer.usage.tokens == 39


def test_a_stream_that_broke_after_a_piece_was_shown_is_not_repeated():
    with ScriptedLLMServer() as server:
        server.drop("one two").reply("never asked for")
        chat = chat_at(server, max_paid_attempts=2)
        pieces, error = broken_stream(chat)
        assert error.spent_tokens == chat.estimate(HI, 1024).tokens // 2
    assert pieces == ["one ", "two"]
    assert (len(server.requests), error.retryable) == (1, True)


def test_a_stream_that_broke_before_the_first_piece_is_repeated():
    with ScriptedLLMServer() as server:
        server.drop().status(503).reply("hello")
        pieces, answer = stream(chat_at(server))
    assert (pieces, answer.text) == (["hello"], "hello")
    assert len(server.requests) == 3


def test_a_malformed_object_in_a_stream_is_an_error_with_what_it_cost():
    with ScriptedLLMServer() as server:
        server.reply("no object", usage=(10, 3))
        _, error = broken_stream(chat_at(server), schema=SCHEMA)
    assert (len(server.requests), error.spent_tokens) == (1, 13)


def test_a_stream_that_stalls_ends_by_the_read_timeout():
    with ScriptedLLMServer() as server:
        server.stall("one two")
        _, error = broken_stream(chat_at(server, timeout_s=0.3, max_attempts=1))
    assert "sent nothing for 0.3 s" in error.problem
    assert error.spent_tokens > 0


def test_a_stream_that_ends_quietly_before_its_end_is_no_answer():
    with ScriptedLLMServer() as server:
        server.truncate("one two")
        pieces, error = broken_stream(chat_at(server))
    assert "ended its stream in the middle" in error.problem
    assert (pieces, error.retryable) == (["one ", "two"], True)


def test_an_error_inside_a_stream_is_told_and_booked():
    with ScriptedLLMServer() as server:
        server.stream_error("out of memory", after="one")
        _, error = broken_stream(chat_at(server))
    assert "an error inside the stream: out of memory" in error.problem
    assert error.spent_tokens > 0


def test_an_endpoint_that_does_not_stream_is_understood_all_the_same():
    usage = {"prompt_tokens": 4, "completion_tokens": 1}
    body = json.dumps({"choices": [{"message": {"content": "whole"}}], "usage": usage})
    with ScriptedLLMServer() as server:
        server.malformed_body(body.encode())  # an ordinary body, where the request asked for a stream
        pieces, answer = stream(chat_at(server))
    assert (pieces, answer.usage.tokens) == (["whole"], 5)


def read_events(*chunks):
    async def arriving():
        for chunk in chunks:
            yield chunk

    async def collect():
        return [data async for data in events(arriving())]

    return asyncio.run(collect())


def test_events_are_read_however_their_bytes_arrive():
    chunks = b": ping\r\n\r\nda", b"ta: {1}\r", b"\n\r\ndata:a\ndata: b\n\nevent: x\n\n", b"data: end"
    assert read_events(*chunks) == ["{1}", "a\nb", "end"]
    letters = "data: é€\n\n".encode()
    assert read_events(*(letters[i : i + 1] for i in range(len(letters)))) == ["é€"]


@pytest.mark.parametrize(
    "chunk",
    [None, [], "text", {"choices": {"a": 1}}, {"choices": [1]}, {"choices": [{"delta": {"content": 5}}]}]
    + [{"choices": [{"delta": {"tool_calls": [part]}}]} for part in (1, {"index": []}, {"function": 3})],
)
def test_a_chunk_of_another_shape_is_refused(chunk):
    with pytest.raises(ValueError, match="a streamed chunk that is not one"):
        StreamedAnswer().add(chunk)
