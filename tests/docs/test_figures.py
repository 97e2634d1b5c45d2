"""The figures that pages show are those of the card and of the benchmarks' results."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs_src/figures.py"))


def test_the_readmes_figures_are_the_cards(figures: dict[str, Any]) -> None:
    card = json.loads(figures["CARD"].read_text())
    assert figures["table"](card) == (ROOT / "docs/figures.txt").read_text()


def test_every_figure_of_a_page_is_the_one_that_was_measured() -> None:
    subprocess.run([sys.executable, "docs_src/figures.py", "--check"], cwd=ROOT, check=True)


def test_every_benchmark_has_a_row_and_every_row_a_benchmark(figures: dict[str, Any]) -> None:
    programs = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert {cost.results for cost in figures["ROWS"] if not cost.command} == programs


def test_another_result_is_another_row_and_what_was_not_measured_says_so(figures: dict[str, Any]) -> None:
    page = "before\n<!-- figures -->\n| old |\nafter\n"
    row = "| a plan, 64 candidates × 30 steps × 3 rounds | `python benchmarks/world.py` | {} |  |  |"
    unmeasured = figures["costs"](page, {}).splitlines()
    assert (unmeasured[0], unmeasured[-1], "| old |" in unmeasured) == ("before", "after", False)
    assert row.format("not measured yet") in unmeasured
    assert not [line for line in unmeasured if "{" in line]
    measured = figures["costs"](page, {"world": {"plan_64x30x3_s": 1.234}}).splitlines()
    assert row.format("1.23 s") in measured


def test_a_figure_within_is_found_scaled_and_formatted(figures: dict[str, Any]) -> None:
    results = {"language": {"shapes": 7, "slowest_cpu_s": 0.1674, "cpu_s": {"the root file": 0.0021}}}
    assert (
        "| the answer to the worst of 7 hostile files of up to 1 MB | `python benchmarks/language.py` | 0.17 s CPU | "
        "0.2 s | the root file: 2 ms |"
    ) in figures["costs"]("<!-- figures -->\n", results).splitlines()


def test_of_several_lines_each_stands_under_its_database(figures: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "store.json"
    file.write_text('{"database": "sqlite", "n": 1}\n{"database": "postgresql", "n": 2}\n')
    assert figures["result"](file)["postgresql"]["n"] == 2
