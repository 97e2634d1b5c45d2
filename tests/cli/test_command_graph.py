"""``graph``: a workflow as Mermaid, as a picture in which no two labels lie on each other, and as JSON."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
NESTED = """
version: 1
workflows:
  order:
    inputs: {names: {type: array, items: string, default: [a, b]}}
    steps:
      - {id: first, use: t.pay, with: {item: 1}}
      - id: each
        foreach: {in: inputs.names, as: name, max_parallel: 2, on_error: collect}
        workflow: one
        with: {name: "${{ name }}"}
      - id: score
        evaluate:
          over: "[{'x': 1.0}]"
          scorers: {price: {use: field_value, with: {path: x}}}
          gate: best.price < 2.0
          on_gate_fail: {goto: first, max_loops: 2}
      - {id: end, if: 'steps.first.output.item > 0 && "a \\"quote\\" <b> & `c` #1" != "x"', use: t.pay, with: {item: 3}}
      - {id: last, workflow: two}
    outputs: {n: "${{ steps.end.output.item }}"}
  two:
    steps:
      - {id: again, foreach: {in: "[1, 2]", as: n}, use: t.pay, with: {item: "${{ n }}"}}
      - {id: deeper, workflow: one, with: {name: x}}
  one:
    inputs: {name: {type: string}}
    steps:
      - {id: pay, use: t.pay, with: {item: 2}}
      - {id: ask, approval: {message: "Send it to ${{ inputs.name }}, with all of it? 送ってもいいですか、すべて"}}
      - {id: send, use: t.pay, with: {item: 2}}
"""


@pytest.fixture
def nested(project):
    (project / "nested.yaml").write_text(NESTED)
    return project


def test_the_reference_workflow_as_mermaid(agentflow):
    said = agentflow("graph", "plan_push", "--file", str(ROOT / "workflows.yaml"))
    assert said.code == 0
    assert said.out.splitlines() == [
        "flowchart TD",
        '  begin(["plan_push: goal, scene, candidates"])',
        '  s0(["plan<br/>agent · planner"])',
        '  s1["simulate<br/>robot_arm.what_if"]',
        '  s2{"choose<br/>evaluate · goal, risk<br/>gate: best.risk #lt; 0.05"}',
        '  s3["verify<br/>robot_arm.execute_in_simulator"]',
        '  s4{{"approve<br/>a person decides<br/>The plan ends more than 5 cm from the goal. Film it?'
        '<br/>if steps.choose.output.best.goal #gt; 0.05"}}',
        '  s5["render<br/>robot_arm.render"]',
        '  finish(["video, predicted_distance_m, true_distance_m, cost"])',
        "  begin --> s0", "  s0 --> s1", "  s1 --> s2", "  s2 --> s3", "  s3 --> s4", "  s4 --> s5", "  s5 --> finish",
        '  s1 -. "each candidate, 4 at a time" .-> s1',
        '  s2 -. "the gate says no, at most 2×" .-> s0',
        '  s4 -. "rejected" .-> s4_end(["the run ends"])',
    ]  # fmt: skip


def test_workflows_within_are_clusters_and_other_peoples_text_is_text(nested, agentflow):
    out = agentflow("graph", "order", "--file", "nested.yaml").out
    for expected in (
        '  subgraph s1 ["each<br/>workflow one"]', '    subgraph s9 ["deeper<br/>workflow one"]',
        "  s0 --> s2", "  s4 --> s5", "  s12 --> finish", '  s4 -. "each name, 2 at a time" .-> s2',
        "#quot;a \\#quot;quote\\#quot; #lt;b#gt; #amp; #96;c#96; #35;1#quot;",
    ):  # fmt: skip
        assert expected in out, expected
    assert out.count("subgraph") == out.count("\n    end\n") + out.count("\n  end\n") == 3


def test_the_path_of_a_run_is_in_the_chart(nested, agentflow):
    run_id = json.loads(agentflow("run", "order", "--file", "nested.yaml", "--json").out)["run_id"]
    agentflow("approve", run_id, "--approval", "each[0]/ask", "--file", "nested.yaml", "--quiet")
    said = agentflow("graph", "--run", run_id, "--file", "nested.yaml", "--json")
    steps = {step["path"]: step for step in json.loads(said.out)["steps"]}
    inner = {step["path"]: step["taken"] for step in steps["each"]["steps"]}
    assert steps["first"]["taken"]["status"] == "ok"
    assert steps["each"]["taken"]["status"] == "running"
    assert (inner["each/pay"]["status"], inner["each/pay"]["items"]) == ("ok", {"ok": 2})
    assert inner["each/ask"]["status"] == "waiting"
    assert steps["score"]["taken"] is None
    text = agentflow("graph", "--run", "last", "--file", "nested.yaml").out
    assert "  begin ==> s0" in text
    assert "  s4 --> s5" in text
    assert "  class s5,s6,s7,s8,s9,s10,s11,s12 unreached" in text
    agentflow("approve", run_id, "--file", "nested.yaml", "--quiet")
    ended = agentflow("approve", run_id, "--file", "nested.yaml", "--json")
    assert json.loads(ended.out)["status"] == "succeeded", ended
    after = json.loads(agentflow("graph", "--run", run_id, "--file", "nested.yaml", "--json").out)["steps"]
    assert [step["taken"]["status"] for step in after] == ["ok"] * 5
    assert after[1]["taken"]["items"] == {"ok": 2}


def test_a_gate_that_sends_back_is_seen_in_the_passes(nested, agentflow):
    file = nested / "nested.yaml"
    file.write_text(
        NESTED.replace("best.price < 2.0", "best.price < 1.0").replace("workflow: one\n", "use: t.greet\n")
    )
    agentflow("run", "order", "--file", "nested.yaml", "--quiet")
    steps = json.loads(agentflow("graph", "--run", "last", "--file", "nested.yaml", "--json").out)["steps"]
    assert [(s["path"], s["taken"]["passes"]) for s in steps[:3]] == [("first", 3), ("each", 3), ("score", 3)]
    assert steps[3]["taken"] is None


def test_a_workflow_that_has_changed_since_the_run_is_said(project, agentflow):
    agentflow("run", "counts", "--quiet")
    file = project / "workflows.yaml"
    file.write_text(file.read_text().replace("[1, 2, 3]", "[1, 2]"))
    said = agentflow("graph", "--run", "last")
    assert (said.code, "has changed since" in said.err) == (0, True)
    assert agentflow("graph", "hello", "--run", "last").code == 2


@pytest.mark.parametrize("run", [False, True], ids=["plain", "followed"])
def test_in_the_picture_every_label_has_its_own_place(nested, agentflow, run):
    arguments = ["order", "--file", "nested.yaml", "--svg", "chart.svg"]
    if run:
        assert agentflow("run", "order", "--file", "nested.yaml", "--quiet").code == 6
        arguments += ["--run", "last"]
    said = agentflow("graph", *arguments)
    assert (said.code, said.err) == (0, "wrote chart.svg\n")
    root = ElementTree.parse(nested / "chart.svg").getroot()  # noqa: S314 (our own file)
    assert float(root.get("width")) <= 1200
    left, top, width, height = map(float, root.get("viewBox").split())
    labels = [(each.text, *place(each)) for each in root.iter(f"{SVG}text")]
    assert {"first", "each", "score", "end", "last", "pay", "ask", "send", "rejected"} <= {
        text for text, *_ in labels
    }
    for text, x1, y1, x2, y2 in labels:
        assert left <= x1 < x2 <= left + width, text
        assert top <= y1 < y2 <= top + height, text
    for (one, *a), (other, *b) in itertools.combinations(labels, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (one, other)


def place(label: ElementTree.Element) -> tuple[float, float, float, float]:
    """Where a label lies: a sign of a monospaced font is 0.602 of its size wide, one of Japanese twice that."""
    size, text = float(label.get("font-size")), label.text or ""
    wide = sum(2 if ord(sign) > 0x2E80 else 1 for sign in text) * size * 0.602
    x, y = float(label.get("x")), float(label.get("y"))
    begin = x - wide / 2 if label.get("text-anchor") == "middle" else x
    return begin, y - 0.8 * size, begin + wide, y + 0.25 * size


def test_a_workflow_that_is_not_there_is_told_with_the_nearest(project, agentflow):
    said = agentflow("graph", "helo")
    assert (said.code, said.out) == (2, "")
    assert "Did you mean 'hello'?" in said.err
    several = agentflow("graph")
    assert "workflow: found no name" in several.err
    assert agentflow("graph", "hello", "--svg", "no/such/folder.svg").code == 1
