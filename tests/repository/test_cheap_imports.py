"""What is not needed is not loaded: seen in the modules of a fresh interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import agentflow

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "langgraph", "mujoco", "sqlmodel", "sqlalchemy", "av", "langchain_core", "xllamacpp"}
SDK = {"Agentflow", "RunResult"}
"""The names that run something, and therefore need the store."""

TELL = """\
import atexit, json, pathlib, sys

report = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: report.write_text(json.dumps(sorted(sys.modules))))
"""
COMMAND_LINE = """\
from agentflow.cli.main import run

sys.argv[0] = "agentflow"
raise SystemExit(run())
"""


@pytest.fixture
def loaded_by(tmp_path):
    """Run a program in an interpreter of its own; return the top-level packages that it loaded."""

    def start(program, *arguments):
        report = tmp_path / "modules.json"
        command = [sys.executable, "-c", TELL + program, report, *arguments]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr
        return {name.split(".")[0] for name in json.loads(report.read_text())}

    return start


def test_importing_agentflow_loads_nothing_but_the_standard_library(loaded_by):
    before = loaded_by("")
    after = loaded_by("import agentflow")
    assert after - before - sys.stdlib_module_names == {"agentflow"}


def test_what_a_project_imports_loads_nothing_heavy(loaded_by):
    names = ", ".join(sorted(set(agentflow.__all__) - SDK))
    assert not loaded_by(f"from agentflow import {names}") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "--help"]], ids=" ".join)
def test_a_word_of_help_loads_nothing_heavy(loaded_by, arguments):
    loaded = loaded_by(COMMAND_LINE, *arguments)
    assert "agentflow" in loaded
    assert not loaded & HEAVY


def test_validating_the_reference_project_loads_nothing_heavy(loaded_by):
    loaded = loaded_by(COMMAND_LINE, "validate", str(ROOT / "workflows.yaml"))
    assert {"agentflow_project", "cel"} <= loaded
    assert not loaded & HEAVY


def test_what_workflows_are_tested_with_needs_neither_torch_nor_a_test_framework(loaded_by):
    loaded = loaded_by("import agentflow.testing")
    assert not loaded & {"torch", "mujoco", "av", "pytest", "langgraph", "xllamacpp", "langchain_core"}


def test_this_file_would_see_a_heavy_library(loaded_by):
    assert "sqlmodel" in loaded_by("import agentflow.store.store") & HEAVY
