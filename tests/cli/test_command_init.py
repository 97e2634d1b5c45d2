"""``init``: a project in which a run, and its tests, work at once in a process that knows nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = ("-m", "agentflow.cli.main")


def fresh(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, in ``folder``, without keys."""
    known = ("PATH", "HOME", "LANG", "TMPDIR")
    plain = {name: value for name, value in os.environ.items() if name in known}
    environment = {**plain, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("template", ["parcels", "push"])
def test_a_new_project_runs_at_once_and_its_tests_pass(tmp_path, template):
    made = fresh(tmp_path, *MAIN, "init", "shop", "--template", template)
    assert made.returncode == 0, made.stderr
    assert "cd shop" in made.stdout
    folder = tmp_path / "shop"
    assert {each.name for each in folder.iterdir()} == {
        ".gitignore", "README.md", "evals", "guardrails", "schemas", "tests", "tools", "workflows.yaml",
    }  # fmt: skip
    assert (folder / "README.md").read_text().startswith("# shop\n")
    assert fresh(folder, *MAIN, "validate").returncode == 0
    ran = fresh(folder, *MAIN, "run", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["status"]) == (0, "succeeded"), ran.stderr
    tested = fresh(folder, "-m", "pytest", "-q")
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout


def test_the_editors_schema_is_the_one_of_this_version(tmp_path, agentflow):
    agentflow("init", str(tmp_path / "new"))
    written = tmp_path / "new" / "schemas" / "workflows.schema.json"
    assert written.read_bytes() == (ROOT / "schemas" / "workflows.schema.json").read_bytes()
    first = (tmp_path / "new" / "workflows.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=./schemas/workflows.schema.json"


def test_a_folder_that_is_not_empty_is_refused_and_left_as_it_is(tmp_path, agentflow, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    said = agentflow("init", ".")
    assert (said.code, said.out) == (2, "")
    assert "which holds notes.txt; allowed: a folder that is new or empty" in said.err
    assert "which is a file" in agentflow("init", "notes.txt").err
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_with_nothing_but_its_repository_is_empty(tmp_path, agentflow, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    said = agentflow("init", ".")
    assert (said.code, "cd " in said.out) == (0, False)
    assert agentflow("run", "--quiet").out.startswith("succeeded send-")


def test_an_unknown_template_is_refused_with_those_there_are(tmp_path, agentflow):
    said = agentflow("init", str(tmp_path / "new"), "--template", "shop")
    assert said.code == 2
    assert "parcels" in said.err
    assert not (tmp_path / "new").exists()


def test_without_a_name_the_only_workflow_of_a_file_runs_and_of_several_none(project, agentflow):
    said = agentflow("run")
    assert (said.code, said.out) == (2, "")
    assert "workflow: found no name, where the file has 12" in said.err
