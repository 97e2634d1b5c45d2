"""``runs`` and ``show``: what runs left, also when the project has changed since."""

from __future__ import annotations

import json


def test_runs_are_listed_the_newest_first(project, agentflow):
    agentflow("run", "counts")
    agentflow("run", "fails")
    shown = agentflow("runs").out.splitlines()
    assert [line.split("-")[0] for line in shown[1:]] == ["fails", "counts"]
    listed = json.loads(agentflow("runs", "--limit", "1", "--json").out)
    assert [(run["workflow"], run["status"], run["error"]["kind"]) for run in listed] == [
        ("fails", "failed", "StepFailed")
    ]


def test_a_project_without_runs_says_so(project, agentflow):
    said = agentflow("runs")
    assert said.code == 2
    assert "no runs beside workflows.yaml" in said.err


def test_an_unknown_run_is_refused_with_those_that_are_there(project, agentflow):
    agentflow("run", "counts")
    said = agentflow("show", "nosuch")
    assert said.code == 2
    assert "unknown run 'nosuch'. Known: counts-" in said.err


def test_a_run_is_shown_as_it_was_when_it_ended(project, agentflow):
    ended = agentflow("run", "hello", "--name", "Ada").out
    assert agentflow("show", "last").out == ended


def test_records_are_read_even_when_the_workflow_file_is_broken(project, agentflow):
    agentflow("run", "counts")
    (project / "workflows.yaml").write_text("version: [")
    assert agentflow("runs").code == 0
    assert "✔ succeeded" in agentflow("show", "last").out


def test_the_manifest_says_which_guardrails_ran(project, agentflow):
    agentflow("run", "hello", "--name", "Ada")
    said = agentflow("show", "last", "--guards")
    assert "1 of 1 guardrail hooks were reached" in said.out
    assert "g.no_evil" in said.out
    shown = json.loads(agentflow("show", "last", "--guards", "--json").out)
    assert shown["manifest"]["guardrails"][0]["verdicts"] == {"allow": 1}


def test_the_trace_is_shown_as_a_tree(project, agentflow):
    agentflow("run", "hello", "--name", "Ada")
    lines = agentflow("show", "last", "--trace").out.splitlines()
    assert lines[0].startswith("invoke_workflow hello")
    assert any("step greet" in line for line in lines)
    assert any(line.startswith("│   ├── run_guardrail g.no_evil") for line in lines)
    [root] = json.loads(agentflow("show", "last", "--trace", "--json").out)["trace"]
    assert "step greet" in [child["name"] for child in root["children"]]


def test_records_on_a_server_are_read_and_written_there(project, agentflow, monkeypatch, postgresql_url):
    monkeypatch.setenv("DATABASE_URL", postgresql_url)
    run_id = agentflow("run", "asks", "--detach", "--quiet").out.strip()
    assert agentflow("worker", "--until-idle").code == 0
    assert not (project / ".agentflow" / "agentflow.db").exists()
    assert [run["run_id"] for run in json.loads(agentflow("runs", "--json").out)] == [run_id]
    assert json.loads(agentflow("approvals", "--json").out)[0]["run_id"] == run_id
    assert agentflow("approve", run_id, "--later").code == 0
    assert agentflow("worker", "--until-idle").code == 0
    assert agentflow("show", run_id, "--follow", "--quiet").code == 0


def test_another_project_is_named_with_file(project, agentflow, tmp_path, monkeypatch):
    agentflow("run", "counts")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "✔ succeeded" in agentflow("show", "last", "--file", str(project / "workflows.yaml")).out
    assert "counts-" in agentflow("runs", "--file", str(project)).out
