"""Recordings: one file of a finished run, from which the workflow runs again with nothing called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentflow import InvalidInputError
from agentflow.core.errors import ReplayError
from agentflow.testing import (
    Bench,
    FakeWorld,
    Recording,
    ScriptedModel,
    answer,
    assert_blocked,
    assert_booked_once,
    assert_guard_ran,
    assert_span_order,
    assert_spent,
    assert_status,
    envelopes,
    record,
    replay,
    spans,
)

SAY = """
@tool(estimate=lambda text: Amounts(tokens=5))
def say(text: str, *, call: Call) -> dict[str, Any]:
    note(text.split()[0])
    call.meter.charge(Amounts(tokens=3))
    if "bad" in text:
        raise ValueError("a bad word")
    return {"text": text}
"""
LOOK = """
@guardrail(hooks=["tool_args", "tool_result"])
def look(subject: Subject, no: str) -> Verdict:
    return Verdict.deny(f"it says {no}") if no in str(subject.value) else Verdict.allow()
"""
GONE = """
@tool(estimate=lambda text: Amounts(tokens=5))
def say(text: str) -> dict[str, Any]:
    raise AssertionError("a replay called a tool")
"""


def spent(result: Any) -> dict[str, int]:
    return {name: value for name, value in result.usage.spent.as_dict().items() if name != "wall_ms"}


def recorded(bench: Bench, result: Any) -> Path:
    path = bench.root / "run.json"
    record(bench.flow, result.run_id, path)
    return path


@pytest.fixture
def filmed(pushing: Bench) -> tuple[Bench, Any]:
    """A run of the whole workflow, a language model and a decision in it."""
    goal = {"understood": True, "body": "red block", "x_m": 0.0, "y_m": 0.0, "avoid": [], "pushes": []}
    model = ScriptedModel([answer(goal, usage=(100, 10), micro_usd=7)])
    world = FakeWorld(trusted_steps=15, gpu_ms_per_predict=3, gpu_ms_per_frame=2)
    flow = pushing.open(worlds={"tabletop": world}, models={"planner": model})
    asked = flow.run("push", seed=5)
    assert_status(asked, "waiting", plan="ok", simulate="ok")
    return pushing, flow.decide(asked.run_id, "approve", by="Ada", comment="looks good")


def test_a_recorded_run_replays_with_nothing_called(filmed: tuple[Bench, Any]) -> None:
    bench, result = filmed
    assert_status(result, "succeeded", film="ok")
    path = recorded(bench, result)
    assert path.stat().st_size < 100_000
    calls = bench.calls
    tools = bench.root / "tools" / "t.py"
    tools.write_text(tools.read_text().replace("    note(", "    raise AssertionError('called')\n    note("))
    again = replay(path, bench.root, folder=bench.root / "replayed")
    assert (again.status, again.outputs) == (result.status, result.outputs)
    assert again.steps == {
        name: {**step, "usage": again.steps[name]["usage"]} for name, step in result.steps.items()
    }
    assert spent(again) == spent(result)
    assert bench.calls == calls
    assert again.steps["ask"]["output"] == result.steps["ask"]["output"]
    assert again.steps["ask"]["output"]["comment"] == "looks good"
    assert_guard_ran(again, "g.keep_away", at="predicted_state", step="simulate[0]")
    assert_guard_ran(again, "trusted_horizon", step="simulate[0]")
    assert_booked_once(again)
    assert_span_order(again, "step plan", before="step simulate[0]")
    assert spans(again, "execute_tool t.film") == []  # no span says that something ran which did not


def test_what_was_given_up_in_the_recorded_run_is_given_up_in_its_replay(pushing: Bench) -> None:
    file = pushing.root / "workflows.yaml"
    head, _, _ = file.read_text().partition("      - id: plan\n")
    still = f"[{', '.join(['[0, 0]'] * 12)}]"
    step = f"      - {{id: simulate, use: t.what_if, with: {{scene: {{}}, actions: {still}}}}}\n"
    file.write_text(
        f"{head}{step}    outputs: {{steps: '${{{{ steps.simulate.output.rollout.horizon_steps }}}}'}}\n"
    )
    result = pushing.open(worlds={"tabletop": FakeWorld(trusted_steps=9)}).run("push")
    again = replay(recorded(pushing, result), pushing.root)
    for each in (result, again):
        assert_status(each, "degraded", simulate="degraded")
        assert each.outputs == {"steps": 9}
        assert envelopes(each)["simulate"].rungs == ["9 of 12 steps are trusted; the rest is cut"]


def test_a_rejection_is_replayed_as_it_was(pushing: Bench) -> None:
    flow = pushing.open(worlds={"tabletop": FakeWorld(trusted_steps=50)})
    asked = flow.run("push")
    result = flow.decide(asked.run_id, "reject", by="Ada", comment="too slow: again")
    again = replay(recorded(pushing, result), pushing.root)
    assert_status(again, "refused", ask="refused")
    assert str(again.error) == str(result.error)


@pytest.fixture
def talk(bench: Bench) -> Bench:
    bench.write(
        '- {id: one, use: t.say, with: {text: "${{ inputs.text }}"}}\n'
        "- id: each\n"
        "  foreach: {in: \"['a', 'bad b', 'c']\", as: word, on_error: collect}\n"
        '  use: t.say\n  with: {text: "${{ word }} and ${{ steps.one.output.text }}"}\n',
        head="inputs: {text: {type: string, default: hi}}\nguardrails:\n"
        "  - {use: g.look, at: [tool_args, tool_result], with: {no: never}}\n",
        tools=SAY,
        guardrails=LOOK,
    )
    return bench


def test_a_call_that_failed_fails_again_in_the_same_words(talk: Bench) -> None:
    result = talk.run()
    again = replay(recorded(talk, result), talk.root)
    assert again.steps["each"]["results"] == result.steps["each"]["results"]
    assert again.steps["each"]["results"][1]["error"] == "step 'each[1]' failed: ValueError: a bad word"
    assert_spent(again, tokens=12)


def test_a_call_that_was_not_recorded_is_an_error_that_names_the_nearest_and_what_differs(
    talk: Bench,
) -> None:
    path = recorded(talk, talk.run())
    file = talk.root / "workflows.yaml"
    file.write_text(file.read_text().replace("'c'", "'see'"))
    with pytest.raises(ReplayError) as caught:  # though the foreach only collects what fails
        replay(path, talk.root)
    assert str(caught.value) == (
        "the call 'each[2]' (t.say, pass 0) was not recorded with these inputs. The nearest recorded is 'each[2]' "
        '(pass 0), which differs in:\n  text: recorded "c and hi", now "see and hi"\n'
        "If the change is meant, record the workflow again."
    )
    file.write_text(file.read_text().replace("id: one", "id: won").replace("steps.one", "steps.won"))
    with pytest.raises(ReplayError) as caught:
        replay(path, talk.root)
    assert str(caught.value) == (
        "the call 'won' (t.say, pass 0) was not recorded: no call of this step was. Did you mean 'one'? "
        "Recorded: each[0], each[1], each[2], one."
    )


def test_a_changed_guardrail_judges_the_recorded_run(talk: Bench) -> None:
    path = recorded(talk, talk.run())
    file = talk.root / "workflows.yaml"
    file.write_text(file.read_text().replace("no: never", "no: c and"))
    again = replay(path, talk.root)
    record_ = assert_blocked(again, "g.look", at="tool_args", step="each[2]")
    assert record_.reason == "it says c and"
    assert_spent(again, tokens=9)


def test_what_a_guardrail_kept_from_being_called_has_no_answer_to_give(talk: Bench) -> None:
    file = talk.root / "workflows.yaml"
    file.write_text(file.read_text().replace("no: never", "no: hi"))
    path = recorded(talk, talk.run())
    assert replay(path, talk.root).status == "refused"
    file.write_text(file.read_text().replace("no: hi", "no: never"))
    with pytest.raises(ReplayError, match=r"the call 'one' .* was not recorded: no call of this step was"):
        replay(path, talk.root)


def test_a_recording_holds_no_secret_and_needs_none(bench: Bench) -> None:
    bench.write(
        '- {id: one, use: t.say, with: {text: "key ${{ secrets.DOOR }} of ${{ run.id }}"}}',
        tools=SAY.replace('return {"text": text}', 'return {"length": len(text)}'),
    )
    flow = bench.open(secrets={"DOOR": "open-sesame-17"})
    path = recorded(bench, flow.run("work"))
    text = path.read_text()
    assert "open-sesame-17" not in text
    (call,) = json.loads(text)["calls"]
    assert call["inputs"] == {"text": "key [secret DOOR] of [run]"}
    assert replay(path, bench.root).status == "succeeded"


def test_each_pass_of_a_loop_has_its_own_answer(bench: Bench) -> None:
    bench.write(
        """
        - {id: draw, use: t.draw}
        - id: judge
          evaluate: {over: "[steps.draw.output]", scorers: {size: s.size}, gate: best.size > 2.0,
            on_gate_fail: {goto: draw, max_loops: 3}}
        """,
        tools="""
        @tool(estimate=fine)
        def draw() -> dict[str, int]:
            note("draw")
            return {"n": len(LOG.read_text().split())}
        """,
        evals="""
        @scorer(lower_is_better=False)
        def size(subject: Subject) -> Score:
            return Score(value=float(subject.value["n"]))
        """,
    )
    result = bench.run()
    assert (result.status, result.steps["draw"]["output"]) == ("succeeded", {"n": 3})
    again = replay(recorded(bench, result), bench.root)
    assert (again.status, again.steps["draw"]["output"]) == ("succeeded", {"n": 3})
    assert bench.calls == ["draw"] * 3


def test_large_files_are_named_and_small_ones_kept(bench: Bench) -> None:
    bench.write(
        "- {id: one, use: t.make}",
        tools="""
        @tool(estimate=fine)
        def make(*, call: Call) -> dict[str, Any]:
            put = lambda size, name: call.artifacts.put(os.urandom(size), "application/octet-stream", name)
            return {"large": put(500_000, "large.bin"), "small": put(100, "small.bin")}
        """,
    )
    result = bench.run()
    path = recorded(bench, result)
    assert path.stat().st_size < 10_000
    folder = bench.root / "again"
    again = replay(path, bench.root, folder=folder)
    assert again.steps["one"]["output"] == result.steps["one"]["output"]
    kept = {name: value["artifact"] for name, value in again.steps["one"]["output"].items()}
    assert list(Recording.load(path).files) == [kept["small"]]
    assert [artifact.name for artifact in envelopes(again)["one"].artifacts] == ["large.bin", "small.bin"]


def test_only_a_run_that_has_ended_and_whose_workflow_stands_can_be_recorded(pushing: Bench) -> None:
    flow = pushing.open(worlds={"tabletop": FakeWorld(trusted_steps=50)})
    asked = flow.run("push")
    with pytest.raises(InvalidInputError, match="status 'waiting'; allowed: a run that has come to its end"):
        record(flow, asked.run_id)
    flow.decide(asked.run_id, "reject", by="Ada")
    file = pushing.root / "workflows.yaml"
    file.write_text(file.read_text().replace("candidates: 24", "candidates: 25"))
    with pytest.raises(InvalidInputError, match="a workflow that has changed since"):
        record(pushing.open(), asked.run_id)


def test_a_run_that_does_not_do_the_same_again_cannot_be_recorded(bench: Bench) -> None:
    bench.write(
        '- {id: one, use: t.say, with: {text: "hi"}}',
        head="guardrails:\n  - {use: g.moody, at: tool_result}\n",
        tools=SAY,
        guardrails="""
        import itertools
        turns = itertools.count()

        @guardrail(hooks=["tool_result"])
        def moody(subject: Subject) -> Verdict:
            return Verdict.deny("not again") if next(turns) else Verdict.allow()
        """,
    )
    result = bench.run()
    with pytest.raises(ReplayError, match="it ended as succeeded, its replay as refused") as caught:
        record(bench.flow, result.run_id)
    assert "'g.moody' at tool_result blocked: not again" in str(caught.value)


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"agentflow_recording": 2}')
    with pytest.raises(InvalidInputError, match="a file that `record` wrote"):
        Recording.load(tmp_path / "run.json")
    with pytest.raises(InvalidInputError, match=r"gone\.json"):
        replay(tmp_path / "gone.json", tmp_path)
