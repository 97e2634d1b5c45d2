"""The import contracts of pyproject.toml hold, and would notice if they did not."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint_imports(folder, *options):
    return subprocess.run([LINT_IMPORTS, *options], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copied_tree(tmp_path):
    """The package's modules in a folder of their own, where a wrong import may be written into them."""
    for path in (ROOT / "agentflow").rglob("*.py"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    return tmp_path


def test_all_import_contracts_are_kept():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken." in result.stdout


def test_the_layers_name_every_part_of_the_package_once():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract for contract in contracts if contract["type"] == "layers"]
    named = [name for layer in layers["layers"] for name in layer.split(" | ")]
    modules = {path.stem for path in (ROOT / "agentflow").glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / "agentflow").glob("*/__init__.py")}
    assert layers["exhaustive"] is True
    assert "ignore_imports" not in layers
    assert sorted(named) == sorted(modules | packages)


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        (
            "core/amounts.py",
            "import agentflow.cli.main",
            "agentflow.core is not allowed to import agentflow.cli",
        ),
        (
            "guard/engine.py",
            "import agentflow.llm.wire",
            "agentflow.guard is not allowed to import agentflow.llm",
        ),
        ("stray.py", "", "agentflow.stray"),
        ("workflow/loader.py", "import torch", "agentflow.workflow.loader -> torch"),
        ("workflow/loader.py", "import langgraph", "agentflow.workflow.loader -> langgraph"),
    ],
    ids=["upward", "sideways", "module outside the layers", "torch", "langgraph"],
)
def test_a_wrong_import_breaks_a_contract(copied_tree, file, line, told):
    with (copied_tree / "agentflow" / file).open("a") as module:
        module.write(f"\n{line}\n")
    result = lint_imports(copied_tree, "--no-cache")
    assert result.returncode == 1, result.stdout + result.stderr
    assert told in " ".join(result.stdout.split())
