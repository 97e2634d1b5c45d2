"""The root's tools, guardrails and evals hide no installed packages that are called the same."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import agentflow

ROOT = Path(__file__).parents[2]
FOLDERS = ("tools", "guardrails", "evals")
WORLDS = "agentflow.worldmodel"
"""Besides the public names, a project may import the worlds: the names of their states are its vocabulary."""
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

IMPORT_ALL = """\
import json, sys

sys.path.append(sys.argv[1])
import evals, guardrails, tools

print(json.dumps([evals.__file__, guardrails.__file__, tools.__file__]))
"""
OPEN_THE_PROJECT = """\
import sys
from agentflow.workflow.project import PACKAGE, Project

before = list(sys.path)
Project.open("workflows.yaml", check_secrets=False)
assert sys.path == before
assert any(name.startswith(f"{PACKAGE}.tools.") for name in sys.modules)
"""


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages that are called as the root's folders are."""
    return packages_in(tmp_path / "site-packages")


def packages_in(folder):
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    return folder


def imported(program, folder, site):
    command = [sys.executable, "-c", program, site]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return {Path(path).parents[1] for path in json.loads(result.stdout)}


def imported_names(path):
    """Yield ``(module, name)`` for each name that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_root_folder_holds_modules_and_is_no_package(folder):
    assert list((ROOT / folder).glob("*.py"))
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_installed_packages_of_these_names_are_imported_even_from_the_root(site):
    assert imported(IMPORT_ALL, ROOT, site) == {site}


def test_installed_packages_of_these_names_are_imported_after_the_project_was_opened(site):
    assert imported(OPEN_THE_PROJECT + IMPORT_ALL, ROOT, site) == {site}


def test_folders_with_an_init_file_would_hide_the_installed_packages(tmp_path, site):
    shadow = packages_in(tmp_path / "shadow")
    assert imported(IMPORT_ALL, shadow, site) == {shadow}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_project_module_imports_public_names_and_worlds(path):
    names = set(imported_names(path))
    inner = {module for module, _ in names if module.startswith("agentflow.")}
    assert {module for module in inner if not f"{module}.".startswith(f"{WORLDS}.")} == set()
    assert {name for module, name in names if module == "agentflow"} <= set(agentflow.__all__)
    assert not {module for module, _ in names if module.split(".")[0] in FOLDERS}
