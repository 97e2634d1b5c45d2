"""An agent step whose output is a declared type: a real endpoint on loopback, a real workflow file, real records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentflow.core.errors import ModelError
from agentflow.testing import (
    ScriptedModel,
    answer,
    assert_booked_once,
    assert_spent,
    envelopes,
    spans,
    tool_calls,
)

GOOD = {"severity": "high", "reason": "two cracks"}


def test_an_answer_of_the_declared_type_is_the_steps_output_with_its_defaults(office: Any) -> None:
    office.server.json(GOOD, usage=(200, 20))
    result = office.run()
    assert result.status == "succeeded", result.error
    assert result.outputs["triage"] == {**GOOD, "hours": 24}
    (request,) = office.server.requests
    form = request.body["response_format"]["json_schema"]
    assert form["name"] == "Triage"
    assert form["schema"]["properties"]["severity"] == {
        "type": "string", "enum": ["low", "high"], "description": "How bad it is.",
    }  # fmt: skip
    assert (form["schema"]["required"], form["schema"]["additionalProperties"]) == (
        ["severity", "reason"],
        False,
    )
    assert request.body["max_tokens"] == 300
    system, user = office.sent()
    assert '"enum": ["low", "high"]' in system["content"]
    assert user["content"] == ('Triage the report.\n\nData, as JSON:\n{"report":"A crack at the weld."}')
    assert_spent(result, tokens=220)
    assert result.usage.spent.micro_usd == 200 * 2 + 20 * 10
    assert_booked_once(result)


def test_an_answer_that_does_not_fit_is_told_back_with_the_exact_problem_and_paid_for(office: Any) -> None:
    office.server.json({**GOOD, "severity": "urgent"}, usage=(100, 10))
    office.server.json({"severity": "low"}, usage=(100, 10))
    office.server.json({**GOOD, "why": 1}, usage=(100, 10))
    office.server.reply("I think it is bad", usage=(100, 10))
    office.server.json(GOOD, usage=(100, 10))
    result = office.run(rounds=5)
    assert result.status == "succeeded", result.error
    told = [message["content"] for message in office.sent() if message["role"] == "user"][1:]
    assert told == [
        "That does not hold: your answer, at severity: found 'urgent'; allowed: one of 'low', 'high'. Answer again.",
        "That was no answer: the answer cannot be used: an object without the required 'reason'. Answer again.",
        "That does not hold: your answer: found the key 'why'; allowed: severity, reason, hours. Answer again.",
        "That was no answer: the answer cannot be used: text that is not JSON (Expecting value at character 0). "
        "Answer again.",
    ]
    assert [message["role"] for message in office.sent()][:3] == ["system", "user", "assistant"]
    assert_spent(result, tokens=550)


def test_an_agent_that_never_answers_right_fails_after_its_rounds_with_all_of_them_on_the_bill(
    office: Any,
) -> None:
    for _ in range(3):
        office.server.json({**GOOD, "hours": -1}, usage=(100, 10))
    result = office.run()
    assert result.status == "failed"
    assert str(result.error) == (
        "language model 'writer': no answer that holds in 3 rounds; the last: your answer, at hours: found -1; "
        "allowed: at least 0. Raise the agent's `rounds`, say the task more plainly, or use a stronger model."
    )
    assert len(office.server.requests) == 3
    assert_spent(result, tokens=330)


@pytest.mark.parametrize(
    ("output", "said", "given"),
    [
        ("string", "All is well.", "All is well."),
        ("{type: string, enum: [accept, reject]}", {"answer": "reject"}, "reject"),
        ("integer", {"answer": 3}, 3),
        ("number", {"answer": 3}, 3.0),
        ("list of Triage", {"answer": [GOOD]}, [{**GOOD, "hours": 24}]),
        ("{type: object, optional: true, fields: {a: integer}}", {"answer": None}, None),
        ("any", {"answer": {"x": [1]}}, {"x": [1]}),
    ],
)
def test_any_type_can_be_answered_and_text_is_the_models_own(
    office: Any, output: str, said: Any, given: Any
) -> None:
    model = ScriptedModel([said])
    result = office.run(output=output, models={"writer": model})
    assert result.status == "succeeded", result.error
    assert result.outputs["triage"] == given
    (request,) = model.requests
    assert (request.schema is None) == (output == "string")


def test_text_that_is_empty_or_cut_off_is_no_answer(office: Any) -> None:
    model = ScriptedModel([" ", answer("It goes on and", finish_reason="length"), "Short."])
    result = office.run(output="string", models={"writer": model})
    assert result.outputs["triage"] == "Short."
    assert (
        model.requests[1].text
        == "That does not hold: your answer: found nothing; allowed: a text. Answer again."
    )
    assert "cut off at its longest; allowed: a shorter one" in model.requests[2].text


def test_what_the_file_says_of_its_longest_answer_is_what_is_asked_for(office: Any) -> None:
    office.server.json(GOOD)
    office.run(more=", max_tokens: 77")
    assert office.server.requests[0].body["max_tokens"] == 77


def test_tools_are_called_through_the_envelope_and_what_came_of_them_is_told(office: Any) -> None:
    office.server.tool_calls(
        ("t_history", {"part": "weld"}), ("t_history", {"part": "ghost"}), usage=(100, 10)
    )
    office.server.tool_calls(
        ("t_history", {"part": "forbidden"}), ("t_history", {"prt": "a"}), usage=(100, 10)
    )
    office.server.json(GOOD, usage=(100, 10))
    result = office.run(tools="[t.history]")
    assert result.status == "succeeded", result.error
    assert office.bench.calls == ["history:weld", "history:ghost"]
    first, _, third = office.server.requests
    assert first.body["tools"][0]["function"]["parameters"] == {
        "type": "object", "properties": {"part": {"type": "string"}}, "required": ["part"],
    }  # fmt: skip
    assert "response_format" not in first.body  # an endpoint held to a schema calls no tools
    assert "tools" not in third.body  # the last round
    assert third.body["response_format"]["json_schema"]["name"] == "Triage"
    assert office.sent()[-1]["content"] == "No further tool can be called. Answer now, with what you know."
    told = [message["content"] for message in office.sent() if message["role"] == "tool"]
    assert told[0] == '{"cracks":2,"part":"weld"}'
    assert told[1].startswith("failed: step 'triage/t_history[1.1]' failed: ValueError: no such part")
    assert told[2] == "refused: guardrail 'g.look' at tool_args blocked: a forbidden word"
    assert told[3] == "failed: t.history: found unknown input 'prt'; allowed: part."
    steps = envelopes(result)
    assert {path: str(envelope.status) for path, envelope in steps.items() if path.startswith("triage")} == {
        "triage": "ok", "triage/chat[1]": "ok", "triage/chat[2]": "ok", "triage/chat[3]": "ok",
        "triage/t_history[1.0]": "ok", "triage/t_history[1.1]": "failed", "triage/t_history[2.0]": "refused",
        "triage/t_history[2.1]": "failed",
    }  # fmt: skip
    assert_spent(result, tokens=330, gpu_ms=4)
    assert_booked_once(result)
    (step,) = spans(result, "step triage")
    assert [child.name for child in step.children if child.name.startswith("step ")] == [
        "step triage/chat[1]", "step triage/t_history[1.0]", "step triage/t_history[1.1]", "step triage/chat[2]",
        "step triage/t_history[2.0]", "step triage/t_history[2.1]", "step triage/chat[3]",
    ]  # fmt: skip
    (call,) = spans(result, "step triage/t_history[1.0]")
    assert [child.name for child in call.children] == [
        "run_guardrail g.look", "budget.reserve", "execute_tool t.history", "budget.settle", "run_guardrail g.look",
    ]  # fmt: skip


def test_guardrails_can_tell_whose_words_they_look_at(office: Any) -> None:
    office.server.tool_calls(("t_history", {"part": "weld"}))
    office.server.tool_calls(("t_history", {"part": "rim"}))
    office.server.json(GOOD)
    result = office.run(tools="[t.history]")
    assert result.status == "succeeded", result.error
    labels = {(step, hook): labels for step, hook, labels in office.seen}
    assert labels == {
        ("input", "input"): ("user",),
        ("triage", "tool_args"): ("user", "model", "tool"),
        ("triage/chat[1]", "tool_args"): ("model",),
        ("triage/chat[1]", "tool_result"): ("model",),
        ("triage/t_history[1.0]", "tool_args"): ("model",),
        ("triage/t_history[1.0]", "tool_result"): ("model",),
        ("triage/chat[2]", "tool_args"): ("model", "tool"),
        ("triage/chat[2]", "tool_result"): ("model", "tool"),
        ("triage/t_history[2.0]", "tool_args"): ("model", "tool"),
        ("triage/t_history[2.0]", "tool_result"): ("model", "tool"),
        ("triage/chat[3]", "tool_args"): ("model", "tool"),
        ("triage/chat[3]", "tool_result"): ("model", "tool"),
        ("triage", "plan"): ("user", "model", "tool"),
    }


def test_orders_in_a_tools_result_give_the_model_no_tool_that_the_file_does_not(office: Any) -> None:
    office.server.tool_calls(("t_history", {"part": "trap"}))
    office.server.tool_calls(("t_shut_down", {}))
    office.server.json(GOOD)
    result = office.run(tools="[t.history]")
    assert result.status == "succeeded", result.error
    assert office.bench.calls == ["history:trap"]
    assert [len(request.body.get("tools", ())) for request in office.server.requests] == [1, 1, 0]
    assert "the tool 't_shut_down', which was not offered" in json.dumps(office.sent())


def test_a_model_without_a_check_of_its_own_gets_no_other_tool_either(office: Any) -> None:
    model = ScriptedModel(
        [tool_calls(("t_shut_down", {}), ("t.history", {})), tool_calls(("t_history", {})), GOOD]
    )
    result = office.run(tools="[t.history]", rounds=3, models={"writer": model})
    assert result.status == "succeeded", result.error
    assert office.bench.calls == []
    told = [message.content for message in model.requests[1].messages if message.role == "tool"]
    assert told == [
        "there is no tool 't_shut_down' for you; there are: t_history",
        "there is no tool 't.history' for you; there are: t_history",
    ]


def test_in_the_last_round_a_call_of_a_tool_is_no_answer_and_nothing_is_called(office: Any) -> None:
    model = ScriptedModel([tool_calls(("t_history", {"part": "a"})), tool_calls(("t_order", {"part": "b"}))])
    result = office.run(tools="[t.history, t.order]", rounds=2, models={"writer": model})
    assert result.status == "failed"
    assert "no answer that holds in 2 rounds; the last: a call of 't_order', and no answer." in str(
        result.error
    )
    assert office.bench.calls == ["history:a"]


def test_what_a_tool_gives_is_shown_only_so_far_and_calls_of_one_message_are_limited(office: Any) -> None:
    many = tool_calls(("t_history", {"part": "long"}), *(("t_history", {"part": f"p{n}"}) for n in range(20)))
    model = ScriptedModel([many, GOOD])
    result = office.run(tools="[t.history]", models={"writer": model})
    assert result.status == "succeeded", result.error
    told = [message.content for message in model.requests[1].messages if message.role == "tool"]
    assert (len(told), len(office.bench.calls)) == (21, 16)
    assert told[0].endswith("x … cut off: 20000 of 30011 characters")
    assert told[20] == "not called: at most 16 calls are made of one message"


def test_a_guardrail_on_the_plan_refuses_the_final_answer(office: Any) -> None:
    office.server.json({**GOOD, "reason": "nonsense"})
    result = office.run()
    assert result.status == "refused"
    assert str(result.error) == "guardrail 'g.look' at plan blocked: nonsense"
    assert_spent(result, tokens=15)


def test_each_item_of_a_foreach_has_an_agent_of_its_own(office: Any) -> None:
    model = ScriptedModel(lambda request: {**GOOD, "reason": request.messages[1].content[-4:-2]})
    step = """foreach: {in: "['a1', 'b2', 'c3']", as: part, max_parallel: 3}"""
    office.write(step=step)
    file = office.bench.root / "workflows.yaml"
    text = file.read_text().replace('with: {report: "${{ inputs.report }}"}', 'with: {report: "${{ part }}"}')
    file.write_text(text.replace("steps.triage.output", "steps.triage.results.map(r, r.output.reason)"))
    result = office.bench.open(models={"writer": model}).run("work")
    assert result.status == "succeeded", result.error
    assert result.outputs["triage"] == ["a1", "b2", "c3"]
    assert {f"triage[{n}]/chat[1]" for n in range(3)} <= set(envelopes(result))


def test_a_cached_answer_is_taken_again_until_the_model_is_another_one(office: Any) -> None:
    office.server.json(GOOD).json({**GOOD, "severity": "low"})
    office.write(step="cache: true")
    assert office.bench.open().run("work").outputs["triage"]["severity"] == "high"
    again = office.bench.open().run("work")
    assert (again.outputs["triage"]["severity"], envelopes(again)["triage"].reused) == ("high", True)
    assert len(office.server.requests) == 1
    file = office.bench.root / "workflows.yaml"
    file.write_text(file.read_text().replace("model: tiny", "model: large"))
    assert office.bench.open().run("work").outputs["triage"]["severity"] == "low"


def test_a_retry_asks_again_only_what_failed(office: Any) -> None:
    model = ScriptedModel(
        [
            tool_calls(("t_history", {"part": "weld"})),
            ModelError("writer", "is overloaded", "Wait.", retryable=True),
            GOOD,
        ]
    )
    result = office.run(
        tools="[t.history]", step="retry: {attempts: 2, backoff: 0}", models={"writer": model}
    )
    assert result.status == "succeeded", result.error
    assert (len(model.requests), office.bench.calls) == (3, ["history:weld"])
    assert_spent(result, tokens=30)


def test_an_endpoint_that_is_down_fails_the_step_with_its_own_words(office: Any) -> None:
    office.server.status(401, message="bad key")
    result = office.run()
    assert (result.status, result.usage.spent.tokens) == ("failed", 0)
    assert "answered 401: bad key. Check `api_key` of this model." in str(result.error)


def test_a_value_that_stands_alone_is_told_how_it_is_to_be_written(office: Any) -> None:
    model = ScriptedModel([{"value": 3}, answer('{"answer": 3', finish_reason="length"), {"answer": 3}])
    result = office.run(output="integer", models={"writer": model})
    assert result.outputs["triage"] == 3
    assert model.requests[0].schema == {
        "type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"],
        "additionalProperties": False,
    }  # fmt: skip
    assert model.requests[1].text == (
        "That does not hold: your answer: found no 'answer'; allowed: a mapping with answer. Answer again."
    )


def test_an_answer_that_was_cut_off_is_told_so(office: Any) -> None:
    model = ScriptedModel([answer('{"severity": "lo', finish_reason="length"), GOOD])
    result = office.run(tools="[t.history]", models={"writer": model})
    assert result.status == "succeeded", result.error
    assert model.requests[1].text.endswith("that was cut off at its longest. Answer again.")


def test_a_retry_does_not_pay_again_for_answers_that_never_fit(office: Any) -> None:
    model = ScriptedModel(lambda _: {**GOOD, "hours": -1})
    result = office.run(rounds=2, step="retry: {attempts: 3, backoff: 0}", models={"writer": model})
    assert (result.status, len(model.requests)) == ("failed", 2)


def test_an_agent_that_a_gate_sends_back_to_is_asked_anew(office: Any) -> None:
    model = ScriptedModel([{**GOOD, "hours": 1}, {**GOOD, "hours": 9}])
    step = """
      - id: enough
        evaluate: {over: "[steps.triage.output]", scorers: {hours: s.hours}, gate: best.hours > 5,
                   on_gate_fail: {goto: triage, max_loops: 1}}"""
    office.write(step=step)
    (office.bench.root / "evals" / "s.py").write_text(
        "from agentflow import Score, Subject, scorer\n\n\n@scorer(lower_is_better=False)\n"
        "def hours(subject: Subject) -> Score:\n"
        "    return Score(value=subject.value['hours'])\n"
    )
    result = office.bench.open(models={"writer": model}).run("work")
    assert result.status == "succeeded", result.error
    assert (result.outputs["triage"]["hours"], len(model.requests)) == (9, 2)
    assert_spent(result, tokens=30)


def test_a_langchain_model_answers_and_calls_tools_as_any_other(office: Any) -> None:
    models = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class WithTools(models.FakeMessagesListChatModel):  # type: ignore[misc, name-defined]
        def bind_tools(self, tools: Any, **_: Any) -> Any:
            return self

        def _generate(self, *_: Any, **__: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=said.pop(0))])

    usage = {"input_tokens": 50, "output_tokens": 7, "total_tokens": 57}
    call = {"name": "t_history", "args": {"part": "weld"}, "id": "1"}
    said = [
        AIMessage("", tool_calls=[call], usage_metadata=usage),
        AIMessage(json.dumps({**GOOD, "hours": -2}), usage_metadata=usage),
        AIMessage(json.dumps(GOOD), usage_metadata=usage),
    ]
    office.write(tools="[t.history]")
    file = office.bench.root / "workflows.yaml"
    _, _, tail = file.read_text().partition("types:")
    free = "{input_usd_per_million: 0, output_usd_per_million: 0}"
    file.write_text(f"version: 1\nmodels: {{writer: {{provider: langchain, price: {free}}}}}\ntypes:{tail}")
    result = office.bench.open(models={"writer": WithTools(responses=[])}).run("work")
    assert result.status == "succeeded", result.error
    assert result.outputs["triage"] == {**GOOD, "hours": 24}
    assert office.bench.calls == ["history:weld"]
    assert_spent(result, tokens=171, gpu_ms=2)


def test_rounds_that_leave_no_room_for_an_answer_are_refused_where_they_are_known(office: Any) -> None:
    office.write(tools="[t.history]", rounds='"${{ inputs.report.size() }}"')  # type: ignore[arg-type]
    flow = office.bench.open(models={"writer": ScriptedModel([GOOD])})
    result = flow.run("work", report="x")
    assert (result.status, result.usage.spent.tokens) == ("failed", 0)
    assert "step 'triage': agent.rounds: found 1; allowed: a whole number from 2 to 50." in str(result.error)
    assert flow.run("work", report="xx").status == "succeeded"
