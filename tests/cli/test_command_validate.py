"""``validate``: every mistake on a line of its own, as editors and scripts read it."""

from __future__ import annotations

import json
import re


def test_a_file_that_holds_is_told_in_one_line(project, agentflow):
    said = agentflow("validate")
    assert said.code == 0
    assert said.out == "workflows.yaml: ok (12 workflows, 18 steps, 1 guardrail, 0 models, 0 worlds)\n"


def test_every_mistake_stands_on_its_line_with_file_line_and_column(project, agentflow):
    long = "x" * 200
    (project / "workflows.yaml").write_text(
        "version: 1\nworkflows:\n  a:\n    steps:\n      - {id: one, use: t.gret}\n"
        f"      - {{id: {long}, use: t.nope}}\n"
    )
    said = agentflow("validate")
    assert said.code == 2
    lines = said.out.splitlines()
    assert len(lines) >= 2
    assert all(re.match(r"workflows\.yaml:\d+:\d+: \S", line) for line in lines)
    assert "Did you mean 't.greet'?" in said.out
    assert said.err == f"{len(lines)} mistakes\n"


def test_mistakes_are_told_as_json_to_a_script(project, agentflow):
    (project / "workflows.yaml").write_text("version: 2\nworkflows: {}\n")
    said = agentflow("validate", "--json")
    shown = json.loads(said.out)
    assert (said.code, shown["ok"]) == (2, False)
    assert {"file", "line", "column", "message"} == set(shown["problems"][0])
    (project / "workflows.yaml").write_text("version: 1\nworkflows: {a: {steps: [{id: x, use: t.wait}]}}\n")
    assert json.loads(agentflow("validate", "--json").out)["ok"] is True


def test_a_file_that_is_not_there_is_a_mistake_too(project, agentflow):
    said = agentflow("validate", "none.yaml")
    assert said.code == 2
    assert said.out.startswith("none.yaml:1:1: there is no such file")


def test_a_module_that_cannot_be_imported_is_told_with_its_line(project, agentflow):
    (project / "tools" / "bad.py").write_text("x = 1\nraise RuntimeError('no\\x1b[2J')\n")
    said = agentflow("validate")
    assert said.code == 2
    assert "tools/bad.py:2:" in said.out
    assert "\x1b" not in said.out
