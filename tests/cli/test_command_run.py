"""``run``: inputs in, one screen or one JSON object out, and an exit code that says how it ended."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest


def test_a_run_ends_with_one_screen_and_says_where_its_files_are(project, agentflow):
    said = agentflow("run", "hello", "--input", "name=Ada")
    assert said.code == 0
    for expected in (
        "✔ succeeded",
        "Guardrails",
        "g.no_evil",
        "the name is fine",
        "Budget",
        "no cap",
        "hello Ada",
    ):
        assert expected in said.out
    [folder] = (project / ".agentflow" / "runs").iterdir()
    assert f".agentflow/runs/{folder.name}/report.html" in said.out
    assert f".agentflow/runs/{folder.name}/trace.jsonl" in said.out
    assert (folder / "report.html").exists()
    assert (folder / "trace.jsonl").exists()


def test_progress_is_plain_lines_on_standard_error_when_nobody_watches(project, agentflow):
    said = agentflow("run", "counts")
    assert "count: ok, 3 items" in said.err
    assert "\x1b" not in said.err + said.out
    assert "count  ✔ ok 3/3" in said.out


def test_json_is_one_object_on_standard_output_whatever_the_tools_print(project, agentflow):
    said = agentflow("run", "hello", "--input", "name=Ada", "--json")
    shown = json.loads(said.out)
    assert said.code == 0
    assert shown["outputs"] == {"text": "hello Ada", "extra": {}}
    assert shown["status"] == "succeeded"
    assert shown["error"] is None
    assert shown["verdicts"] == {"allow": 1}
    assert shown["usage"]["tokens"] == {"spent": 0, "reserved": 0, "cap": 500}
    assert shown["usage"]["frames"]["cap"] is None
    assert shown["steps"] == {"greet": "ok"}
    assert Path(shown["paths"]["report"]).exists()
    assert "a tool that prints" in said.err


def test_quiet_says_one_line(project, agentflow):
    said = agentflow("run", "hello", "--input", "name=Ada", "--quiet")
    assert said.out.count("\n") == 1
    assert said.out.startswith("succeeded hello-")


def test_inputs_are_given_as_options_pairs_or_json_and_typed_by_the_workflow(project, agentflow):
    (project / "given.json").write_text('{"name": "from the file", "times": 3}')
    by_option = agentflow("run", "hello", "--name", "42", "--times=2", "--extra", '{"a": [1]}', "--json")
    assert json.loads(by_option.out)["outputs"] == {"text": "hello 42hello 42", "extra": {"a": [1]}}
    by_file = agentflow("run", "hello", "--inputs-json", "given.json", "-i", "times=1", "--json")
    assert json.loads(by_file.out)["outputs"]["text"] == "hello from the file"


def test_inputs_come_from_standard_input_too(project, agentflow, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"name": "pipe"}'))
    said = agentflow("run", "hello", "--inputs-json", "-", "--json")
    assert json.loads(said.out)["outputs"]["text"] == "hello pipe"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["helo"], "Did you mean 'hello'?"),
        (["hello"], "input 'name': found nothing"),
        (["hello", "--nam", "x"], "Did you mean 'name'?"),
        (["hello", "--name"], "--name: found no value"),
        (["hello", "--name", "x", "--times", "often"], "input 'times': found 'often'"),
        (["hello", "--name", "x", "--extra", '{"a": NaN}'], "not finite"),
        (["hello", "stray"], "argument: found 'stray'"),
        (["--name", "x", "hello"], "its name first"),
        (["hello", "--input", "x"], "allowed: name=value"),
        (["hello", "--inputs-json", "none.json"], "No such file"),
        (["hello", "--inputs-json", "workflows.yaml"], "which is no JSON"),
        (["hello", "--name", "x", "--file", "none.yaml"], "there is no such file"),
        (["hello", "--name", "x", "--seed", "-1"], "--seed"),
    ],
)
def test_a_mistake_of_the_caller_is_one_message_and_exit_code_2(project, agentflow, arguments, message):
    said = agentflow("run", *arguments)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert "Traceback" not in said.err


def test_a_mistake_is_told_as_json_to_a_script(project, agentflow):
    said = agentflow("run", "helo", "--json")
    shown = json.loads(said.out)
    assert (said.code, shown["status"], shown["error"]["kind"]) == (2, "not_started", "UnknownName")


@pytest.mark.parametrize(
    ("arguments", "code", "status", "message"),
    [
        (["fails"], 1, "failed", "ValueError: it broke"),
        (["costs"], 4, "exhausted", "tokens would pass its cap"),
        (["hello", "--name", "evil"], 5, "refused", "the name is evil"),
    ],
)
def test_a_run_that_ends_badly_shows_what_is_known_and_its_exit_code(
    project, agentflow, arguments, code, status, message
):
    said = agentflow("run", *arguments)
    assert said.code == code
    assert f"✖ {status}" in said.out
    assert message in " ".join(said.out.split())
    assert json.loads(agentflow("show", "last", "--json").out)["status"] == status


def test_hostile_text_reaches_neither_the_terminal_nor_the_report_as_code(project, agentflow):
    evil = "\x1b]0;title\x07\x1b[2J<script>alert(1)</script>[bold]\u202e"
    agentflow("run", "hello", "--name", evil)
    failed = agentflow("run", "fails", "--why", evil)
    assert "\x1b" not in failed.out
    assert "[bold]" in failed.out
    assert "\u202e" not in failed.out
    for report in (project / ".agentflow" / "runs").glob("*/report.html"):
        text = report.read_text()
        assert "<script>" not in text
        assert "\x1b" not in text


def test_media_lies_in_the_runs_folder_whatever_name_a_tool_gave_it(project, agentflow):
    said = agentflow("run", "draws", "--name", '../../"><b>.gif', "--json")
    shown = json.loads(said.out)
    [picture] = map(Path, shown["paths"]["media"])
    assert picture.parent == Path(shown["paths"]["folder"])
    assert picture.read_bytes() == b"GIF89a"
    assert f'src="{picture.name}"' in Path(shown["paths"]["report"]).read_text()


def test_prediction_and_truth_stand_side_by_side_for_any_workflow_that_verifies(project, agentflow):
    said = agentflow("run", "verifies")
    [line] = [line for line in said.out.splitlines() if "left to the goal" in line]
    assert line.split("goal", 1)[1].split() == ["1.3", "cm", "41.0", "cm"]
    assert "cup touched" in said.out
    assert "YES" in said.out


def test_ctrl_c_cancels_the_run_keeps_what_is_finished_and_says_how_to_go_on(project, start, agentflow):
    process = start("run", "slow")
    line = ""
    while "at work" not in line:
        line = process.stderr.readline()
        assert line, "the run ended before the tool was at work"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    run_id = json.loads(agentflow("runs", "--json").out)[0]["run_id"]
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == [
        f"cancelled: run {run_id}; finished steps are kept (greet). Go on with: agentflow resume {run_id}"
    ]
    shown = agentflow("show", run_id).out
    assert "■ cancelled" in shown
    assert f"agentflow resume {run_id}" in shown


def test_a_reader_that_goes_away_gets_no_traceback(project, start):
    process = start("run", "counts", "--quiet")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


def test_a_defect_is_told_shortly_and_keeps_its_traceback(project, agentflow, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    agentflow("run", "counts")
    with closing(sqlite3.connect(project / ".agentflow" / "agentflow.db")) as database, database:
        database.execute("UPDATE runs SET inputs = 'no JSON'")  # what nothing should ever have written
    said = agentflow("show", "last")
    assert (said.code, said.out) == (70, "")
    assert "a defect of agentflow: JSONDecodeError" in said.err
    [log] = tmp_path.glob("agentflow-error-*.log")
    assert str(log) in said.err
    assert "Traceback" in log.read_text()
    assert "Traceback" not in said.err
    assert "Traceback" in agentflow("--debug", "show", "last").err


def test_the_help_says_what_each_exit_code_means(agentflow):
    said = agentflow("--help")
    assert said.code == 0
    for code in ("0", "1", "2", "4", "5", "6", "70", "130"):
        assert any(line.split()[:1] == [code] for line in said.out.splitlines())


def test_the_version_is_the_packages(agentflow):
    from agentflow import __version__

    assert agentflow("--version").out == f"agentflow {__version__}\n"
