"""Components and worlds of other distributions: real ``.dist-info`` folders on a path of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentflow.core.errors import PluginError, UnknownNameError, WorkflowFileError
from agentflow.workflow.project import Project, load_components
from agentflow.worldmodel import catalog

ACME = '''\
from typing import TypedDict

from agentflow import Amounts, Score, Subject, Verdict, guardrail, scorer, tool


class Lifted(TypedDict):
    height_m: float


@tool(estimate=lambda kg: Amounts(gpu_ms=1))
def lift(kg: float) -> Lifted:
    """Lift."""
    return {"height_m": kg / 10}


@guardrail(hooks=["tool_args"])
def load_limit(subject: Subject, kg: float) -> Verdict:
    """Refuse what is too heavy."""
    return Verdict.allow()


@scorer(lower_is_better=True, unit="m")
def sway(subject: Subject) -> Score:
    """How far it sways."""
    return Score(value=0.0)


class YardWorld:
    def __init__(self, device: str) -> None:
        self.device = device

    class simulator:
        pass
'''
POINTS = """\
[agentflow.tools]
crane.lift = acme_crane:lift
yard = acme_crane
[agentflow.guardrails]
crane.load_limit = acme_crane:load_limit
[agentflow.scorers]
crane.sway = acme_crane:sway
[agentflow.worlds]
yard = acme_crane:YardWorld
"""
FILE = """\
version: 1
worlds: {yard: {use: yard}}
workflows:
  move:
    guardrails: [{use: crane.load_limit, at: tool_args, with: {kg: 900}}]
    steps:
      - {id: lift, use: crane.lift, with: {kg: 20.5}}
      - {id: again, use: yard.lift, with: {kg: "${{ steps.lift.output.height_m }}"}}
      - {id: judge, evaluate: {over: "[steps.lift.output]", scorers: {sway: crane.sway}}}
"""


def install(site: Path, name: str, points: str, **modules: str) -> None:
    """Lay a distribution onto a path as an installer leaves it."""
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(points)
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "site"
    monkeypatch.syspath_prepend(str(path))
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        monkeypatch.delitem(sys.modules, name)
    return path


def mistakes(root: Path, text: str) -> list[str]:
    (root / "workflows.yaml").write_text(text)
    with pytest.raises(WorkflowFileError) as caught:
        Project.open(root, worlds=catalog.names())
    return [str(problem).removeprefix(f"{root}/workflows.yaml:") for problem in caught.value.problems]


def test_a_workflow_names_the_components_and_the_world_of_another_distribution(
    site: Path, tmp_path: Path
) -> None:
    install(site, "acme-crane", POINTS, acme_crane=ACME)
    (tmp_path / "workflows.yaml").write_text(FILE)
    project = Project.open(tmp_path, worlds=catalog.names())
    assert project.registry.tools.get("crane.lift").call(kg=20.0) == {"height_m": 2.0}
    assert project.registry.tools.get("yard.lift").name == "yard.lift"
    assert project.registry.guardrails.get("crane.load_limit").hooks == ("tool_args",)
    assert project.registry.scorers.get("crane.sway").unit == "m"
    assert catalog.open_world("yard", device="cpu").device == "cpu"
    assert type(catalog.open_simulator("yard")).__name__ == "simulator"


def test_a_reference_to_what_a_plug_in_s_tool_gives_is_checked(site: Path, tmp_path: Path) -> None:
    install(site, "acme-crane", POINTS, acme_crane=ACME)
    assert mistakes(tmp_path, FILE.replace("output.height_m", "output.height")) == [
        "8:71: steps.lift.output has no 'height'. Did you mean 'height_m'? It has: height_m."
    ]
    assert mistakes(tmp_path, FILE.replace("use: yard.lift", "use: yard.lower")) == [
        "8:26: unknown tool 'yard.lower'. Did you mean 'yard.lift'? Known: crane.lift, echo, yard.lift."
    ]


def test_a_plug_in_that_no_file_names_is_not_imported(site: Path, tmp_path: Path) -> None:
    install(site, "acme-crane", POINTS, acme_crane=ACME)
    install(site, "acme-broken", "[agentflow.tools]\nbroken.tool = acme_broken:tool\n", acme_broken="1 / 0\n")
    (tmp_path / "workflows.yaml").write_text(
        "version: 1\nworkflows: {w: {steps: [{id: a, approval: {message: ok}}]}}\n"
    )
    project = Project.open(tmp_path, worlds=catalog.names())
    assert "broken.tool" in project.registry.tools.names()
    assert {"acme_crane", "acme_broken"} & set(sys.modules) == set()


def test_a_broken_plug_in_is_one_mistake_that_names_its_distribution_and_spares_the_others(
    site: Path, tmp_path: Path
) -> None:
    install(site, "acme-crane", POINTS, acme_crane=ACME)
    points = (
        "[agentflow.tools]\nbroken.tool = acme_broken:tool\n[agentflow.worlds]\nbroken = acme_broken:World\n"
    )
    install(site, "acme-broken", points, acme_broken="import nothing_of_this_name\n")
    found = mistakes(tmp_path, FILE.replace("use: yard.lift", "use: broken.tool"))
    assert found == [
        "8:26: the plug-in 'broken.tool' (agentflow.tools: acme_broken:tool) of acme-broken 1.2 cannot be used: "
        "ModuleNotFoundError: No module named 'nothing_of_this_name'. Reinstall or remove that distribution."
    ]
    with pytest.raises(
        PluginError, match=r"'broken' \(agentflow\.worlds: acme_broken:World\) of acme-broken"
    ):
        catalog.open_world("broken")
    assert catalog.open_world("yard").device == "auto"


def test_what_is_no_component_and_what_two_distributions_offer_is_told(site: Path, tmp_path: Path) -> None:
    install(site, "acme-crane", POINTS, acme_crane=ACME)
    install(
        site,
        "acme-twin",
        "[agentflow.tools]\ncrane.lift = acme_crane:lift\nno.tool = acme_crane:load_limit\n",
    )
    registry, problems = load_components(tmp_path)
    assert problems == []
    with pytest.raises(
        PluginError,
        match=r"of acme-crane 1\.2 and acme-twin 1\.2 cannot be used: several distributions offer this name",
    ):
        registry.tools.get("crane.lift")
    with pytest.raises(PluginError, match=r"there is nothing in it that is decorated with @tool"):
        registry.tools.get("no.tool")
    with pytest.raises(UnknownNameError):
        registry.tools.get("yard.lower")


def test_a_project_s_own_component_comes_before_a_plug_in_s(site: Path, tmp_path: Path) -> None:
    install(site, "acme-crane", POINTS, acme_crane=ACME)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "crane.py").write_text(
        "from agentflow import Amounts, tool\n\n\n@tool(estimate=lambda: Amounts())\ndef lift() -> str:\n"
        "    return 'own'\n"
    )
    registry, _ = load_components(tmp_path)
    assert registry.tools.get("crane.lift").call() == "own"
