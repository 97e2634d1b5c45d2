from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentflow.core.errors import UnknownNameError, WorkflowFileError
from agentflow.workflow.loader import load_workflow_file
from agentflow.workflow.project import Project, load_components


def test_the_workflow_of_the_design_holds(design_file: Path) -> None:
    project = Project.open(design_file, worlds={"tabletop"})
    workflow = project.file.workflow("plan_push")
    assert [(step.id, step.kind) for step in workflow.steps] == [
        ("plan", "agent"),
        ("simulate", "foreach"),
        ("choose", "evaluate"),
        ("approve", "approval"),
        ("render", "use"),
    ]
    assert project.file.position(("workflows", "plan_push", "steps", 1)) == (22, 9)
    assert project.root == design_file.parent.resolve()
    assert {name for name in project.registry.tools.names() if name.startswith("robot_arm.")} == {
        "robot_arm.what_if",
        "robot_arm.render",
    }
    assert "robot_arm.keep_out" in project.registry.guardrails
    assert "robot_arm.goal_distance" in project.registry.scorers


def test_a_folder_stands_for_its_workflows_file(design_file: Path) -> None:
    assert Project.open(design_file.parent).file.path == design_file


def test_an_unknown_workflow_is_named_with_the_known_ones(design_file: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'plan_push'\? Known: plan_push"):
        load_workflow_file(design_file).workflow("plan_pus")


def test_the_digest_of_a_workflow_covers_the_workflows_that_it_runs(tmp_path: Path) -> None:
    def digest(tool: str, unrelated: str) -> str:
        file = tmp_path / "workflows.yaml"
        file.write_text(
            "version: 1\nworkflows:\n  outer: {steps: [{id: a, workflow: inner}]}\n"
            f"  inner: {{steps: [{{id: a, use: {tool}}}]}}\n  other: {{steps: [{{id: a, use: {unrelated}}}]}}\n"
        )
        return load_workflow_file(file).digest("outer")

    assert digest("x", "y") == digest("x", "z") != digest("w", "y")


def test_project_modules_import_each_other_and_shadow_nothing(design_file: Path) -> None:
    root = design_file.parent
    (root / "tools" / "other.py").write_text(
        "from agentflow_project.guardrails.robot_arm import keep_out\n"
        "from agentflow_project.tools import robot_arm\n"
        "SAME = keep_out.__module__, robot_arm.__name__\n"
    )
    (root / "evals" / "json.py").write_text("raise RuntimeError('only under its private name')\n")
    path = list(sys.path)
    registry, problems = load_components(root)
    assert [str(problem).removeprefix(str(root)) for problem in problems] == [
        "/evals/json.py:1:1: this module cannot be imported: RuntimeError: only under its private name."
    ]
    assert sys.modules["agentflow_project.tools.other"].SAME == (
        "agentflow_project.guardrails.robot_arm",
        "agentflow_project.tools.robot_arm",
    )
    assert sys.path == path
    assert not {"tools", "guardrails", "evals"} & set(sys.modules)
    assert "robot_arm.render" in registry.tools


def test_a_second_project_has_its_own_modules(design_file: Path, tmp_path: Path) -> None:
    first, _ = load_components(design_file.parent)
    (tmp_path / "second" / "tools").mkdir(parents=True)
    (tmp_path / "second" / "tools" / "robot_arm.py").write_text("x = 1\n")
    second, problems = load_components(tmp_path / "second")
    assert (problems, "robot_arm.render" in second.tools) == ([], False)
    again, _ = load_components(design_file.parent)
    assert "robot_arm.render" in first.tools
    assert "robot_arm.render" in again.tools


def test_a_module_that_was_changed_is_imported_again(design_file: Path) -> None:
    load_components(design_file.parent)
    module = design_file.parent / "tools" / "robot_arm.py"
    module.write_text(module.read_text().replace("def render(", "def draw("))
    registry, _ = load_components(design_file.parent)
    assert ("robot_arm.draw" in registry.tools, "robot_arm.render" in registry.tools) == (True, False)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ndef f(:\n", ":2:7: this module cannot be imported: SyntaxError: invalid syntax."),
        ("import nothing_of_this_name\n",
         ":1:1: this module cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'."),
        ("def f():\n    return 1 / 0\n\nf()\n",
         ":2:12: this module cannot be imported: ZeroDivisionError: division by zero."),
        ("import sys\nsys.exit('bye')\n", ":2:1: this module cannot be imported: SystemExit: bye."),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_imported_is_a_mistake_at_its_line(
    design_file: Path, source: str, expected: str
) -> None:
    broken = design_file.parent / "tools" / "broken.py"
    broken.write_text(source)
    with pytest.raises(WorkflowFileError) as caught:
        Project.open(design_file)
    assert [str(problem) for problem in caught.value.problems] == [f"{broken}{expected}"]


def test_broken_modules_and_the_mistakes_of_the_file_are_listed_together(design_file: Path) -> None:
    (design_file.parent / "tools" / "robot_arm.py").write_text("1 / 0\n")
    design_file.write_text(design_file.read_text().replace("version: 1", "version: 3"))
    with pytest.raises(WorkflowFileError) as caught:
        Project.open(design_file)
    assert [problem.message for problem in caught.value.problems] == [
        "this module cannot be imported: ZeroDivisionError: division by zero.",
        "this agentflow reads version 1. Write 'version: 1'.",
    ]


def test_checking_a_file_loads_nothing_heavy(design_file: Path) -> None:
    code = (
        "import sys; from agentflow.workflow.loader import load_workflow_file;"
        f"load_workflow_file({str(design_file)!r});"
        "heavy = {'torch', 'langgraph', 'mujoco', 'sqlmodel', 'httpx', 'opentelemetry', 'av'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
