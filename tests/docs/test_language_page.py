"""The page about the language: examples are loaded, and run where they need no endpoint; tables are the schema's."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentflow.core.errors import WorkflowFileError
from agentflow.sdk import Agentflow
from agentflow.testing import FakeWorld
from agentflow.workflow.json_schema import build_schema
from agentflow.workflow.project import Project

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(.*)\n((?:.*\n)*?)^```$", PAGE, re.MULTILINE)
EXAMPLES = {info.removeprefix("yaml ").strip(): text for info, text in FENCES if info.startswith("yaml")}
NOTHING = "workflows: {page: {steps: [{id: nothing, use: echo, with: {value: 1}}]}}\n"


def project(folder: Path, name: str) -> Path:
    """Write an example as the file of a project with the page's tools; what a part leaves out is put around it."""
    text = EXAMPLES[name]
    keys = yaml.safe_load(text)
    if "steps" in keys:
        text = "workflows:\n  page:\n" + "".join(f"    {line}\n" for line in text.splitlines())
    elif "workflows" not in keys:
        text += NOTHING
    shutil.copytree(ROOT / "docs_src" / "stock", folder, dirs_exist_ok=True)
    (folder / "workflows.yaml").write_text(text if "version" in keys else f"version: 1\n{text}")
    return folder


@pytest.fixture
def flow(tmp_path: Path) -> Any:
    """Opens an example by its name, on a fake world."""
    opened: list[Agentflow] = []

    def open_it(name: str) -> Agentflow:
        world = FakeWorld(trusted_steps=50)
        opened.append(Agentflow.open(project(tmp_path / name, name), worlds={"tabletop": world}))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


def restock(flow: Agentflow) -> None:
    cheap = flow.run("restock", part={"name": "bolt"})
    assert cheap.status == "succeeded", cheap.error
    assert cheap.outputs == {"order": {"supplier": "Berta", "total_usd": 2.2}, "total_usd": 2.2}
    dear = flow.run("restock", part={"name": "gear", "count": 2})
    assert [asked.message for asked in dear.questions] == ["Order 2 × gear?"]
    done = flow.decide(dear.run_id, "approve", by="ann", answers={"express": True})
    assert done.outputs["total_usd"] == 2 * 13.75 + 10
    refused = flow.run("restock", part={"name": "motor"})
    assert "the gate `best.price_usd <= inputs.most_usd` does not hold" in str(refused.error)


def push(flow: Agentflow) -> None:
    result = flow.run("push", goal="push the red block 10 cm to the left")
    assert (result.status, result.outputs) == ("succeeded", {"candidates": 2}), result.error


def each(flow: Agentflow) -> None:
    result = flow.run("page", parts=["bolt", "nothing", "gear"])
    assert (result.status, result.outputs) == ("succeeded", {"cheapest": [0.2, 12.5], "failed": 1})


def gate(flow: Agentflow) -> None:
    assert flow.run("page").outputs == {"supplier": "Arlo"}


def order_all(flow: Agentflow) -> None:
    assert flow.run("order_all").outputs == {"totals": [0.2, 85.0]}
    again = flow.run("order_all")
    places = {record.path: record.envelope for record in flow.workshop.store.steps(again.run_id)}
    assert places["each[0]/ask"].reused
    assert not places["each[0]/order"].reused


def pictures(flow: Agentflow) -> None:
    result = flow.run("page")
    assert (result.status, result.outputs) == ("degraded", {"pictures": 10}), result.error
    assert result.usage.spent.frames == 10


RUNS: dict[str, Callable[[Agentflow], None]] = {
    run.__name__: run for run in (restock, push, each, gate, order_all, pictures)
}


@pytest.mark.parametrize("name", RUNS)
def test_an_example_does_what_the_page_says(flow: Callable[[str], Agentflow], name: str) -> None:
    RUNS[name](flow(name))


def test_an_example_that_needs_an_endpoint_holds_once_its_secret_is_set(tmp_path: Path) -> None:
    folder = project(tmp_path / "project", "secrets")
    Project.open(folder, secrets={"WRITER_KEY": "key"})
    with pytest.raises(WorkflowFileError, match="the secret 'WRITER_KEY' is not set"):
        Project.open(folder, secrets={})


def test_the_wrong_example_is_answered_as_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project(tmp_path / "project", "wrong"))
    with pytest.raises(WorkflowFileError) as caught:
        Project.open("workflows.yaml")
    assert f"{caught.value}\n" in [text for info, text in FENCES if info == "text"]


def test_no_example_is_left_out() -> None:
    assert set(EXAMPLES) == {*RUNS, "secrets", "wrong"}


def test_the_page_is_short_and_its_tables_are_those_of_the_schema() -> None:
    assert len(PAGE.splitlines()) <= 350
    subprocess.run([sys.executable, "docs_src/options.py", "--check"], cwd=ROOT, check=True)


def test_every_part_of_a_file_has_its_options_in_one_table() -> None:
    script = runpy.run_path(str(ROOT / "docs_src" / "options.py"))
    tables = [script["shown"](page.read_text(encoding="utf-8")) for page in script["PAGES"]]
    assert not tables[0] & tables[1]
    parts = {
        name: set(form["properties"])
        for name, form in build_schema()["$defs"].items()
        if "properties" in form
    }
    told_in_words = {name for name, options in parts.items() if options <= {"provider", "price"}}
    assert tables[0] | tables[1] == {script["FILE"], *parts} - told_in_words


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
    missing = {
        (page.parent / target).resolve()
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    }
    assert missing == set()
