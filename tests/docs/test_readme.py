from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from agentflow.workflow.project import Project

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def test_every_included_block_is_what_its_file_holds_now() -> None:
    subprocess.run([sys.executable, "docs_src/readme.py", "--check"], cwd=ROOT, check=True)


def test_the_readme_is_short_and_its_pictures_and_links_exist() -> None:
    assert len(README.splitlines()) <= 200
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_functions_that_it_shows_are_components_of_the_project() -> None:
    registry = Project.open(ROOT / "workflows.yaml").registry
    shown = {f"robot_arm.{name}" for name in re.findall(r"^(?:async )?def (\w+)", README, re.MULTILINE)}
    assert "robot_arm.what_if" in shown
    assert shown <= {*registry.tools.names(), *registry.guardrails.names()}


def test_the_sdk_example_runs_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    runpy.run_path("docs_src/sdk_run.py", run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(r"(succeeded|degraded) predicted \d+\.\d cm from the goal", printed)
    assert "robot_arm.keep_out" in printed or "prompt_injection" in printed
