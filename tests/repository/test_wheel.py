"""The wheel holds all that the package needs, and runs where only its requirements were installed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

import agentflow

ROOT = Path(__file__).parents[2]
INFO = f"agentflow_worlds-{agentflow.__version__}.dist-info"
NOT_NEEDED = ("torch", "mujoco", "av", "safetensors", "xllamacpp", "pytest")
"""What only an extra asks for; a machine that runs workflows against remote worlds lacks it."""


def run(*command, cwd=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def content(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(content):
    (path,) = [name for name in content if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(content[path])


def required(metadata):
    """The names of all distributions that the wheel needs without any extra, and what those need in turn."""
    found, waiting = set(), [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen or not wanted(requirement):
            continue
        seen.add(str(requirement))
        found.add(requirement.name)
        for text in distribution(requirement.name).requires or ():
            further = Requirement(text)
            if any(wanted(further, extra) for extra in ("", *requirement.extras)):
                further.marker = None
                waiting.append(further)
    return found


def wanted(requirement, extra=""):
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@pytest.fixture(scope="module")
def empty_place(tmp_path_factory, wheel, metadata):
    """An environment with the wheel and links to what it requires; returns its folder of programs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "--disable-pip-version-check")
    installed = run(*pip, "install", "--no-deps", "--no-index", wheel)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    (place,) = folder.glob("lib/python*/site-packages")
    for name in required(metadata):
        for file in distribution(name).files or ():
            first = file.parts[0]
            link = place / first
            if first not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(distribution(name).locate_file(first))
    return programs


@pytest.fixture
def project(tmp_path):
    """The reference project in a folder where nothing else of the repository is."""
    for folder in ("tools", "guardrails", "evals"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "workflows.yaml", tmp_path)
    return tmp_path


def test_the_wheel_has_one_package_with_every_module_of_the_tree(content):
    tops = {PurePosixPath(name).parts[0] for name in content}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "agentflow").rglob("*.py")}
    assert tops == {"agentflow", INFO}
    assert {name for name in content if name.endswith(".py")} == modules


def test_the_wheel_has_the_licence_the_type_marker_and_the_editor_s_schema(content):
    schema = (ROOT / "schemas" / "workflows.schema.json").read_bytes()
    assert content[f"{INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert content["agentflow/py.typed"] == b""
    assert content["agentflow/workflow/workflows.schema.json"] == schema


def test_the_wheel_has_the_weights_that_the_world_card_names(content):
    (weights,) = [name for name in content if name.endswith("tabletop.safetensors")]
    card = json.loads(content[str(PurePosixPath(weights).with_name("card.json"))])
    assert card["weights_sha256"] == hashlib.sha256(content[weights]).hexdigest()


def test_torch_and_the_simulator_come_with_the_extra_worlds_only(metadata):
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    worlds = {each.name for each in requirements if wanted(each, "worlds") and not wanted(each)}
    assert metadata["Name"] == "agentflow-worlds"
    assert worlds == {"av", "mujoco", "safetensors", "torch"}
    assert not required(metadata) & set(NOT_NEEDED)


def test_the_installed_package_is_the_wheel_s_and_stands_alone(empty_place, tmp_path):
    program = (
        "import agentflow, importlib.util as u, sys; print(agentflow.__file__);"
        "print([name for name in sys.argv[1:] if u.find_spec(name)])"
    )
    result = run(empty_place / "python", "-c", program, *NOT_NEEDED, cwd=tmp_path)
    file, extras = result.stdout.splitlines()
    assert Path(file).is_relative_to(empty_place.parent)
    assert extras == "[]"


def test_the_installed_command_says_what_it_can_do(empty_place, tmp_path):
    result = run(empty_place / "agentflow", "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert {"run", "validate"} <= set(result.stdout.split())


def test_the_installed_command_validates_the_reference_project(empty_place, project):
    result = run(empty_place / "agentflow", "validate", "workflows.yaml", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_installed_command_finds_a_mistake_in_it(empty_place, project):
    file = project / "workflows.yaml"
    file.write_text(file.read_text().replace("\nworkflows:", "\nworkflow:", 1))
    result = run(empty_place / "agentflow", "validate", "workflows.yaml", cwd=project)
    assert result.returncode != 0
    assert "workflows.yaml:" in result.stdout + result.stderr
