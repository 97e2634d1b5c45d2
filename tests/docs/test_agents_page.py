"""The page about agents that answer: its workflow is the example's, and all of its code runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "agents.md"


def blocks(language: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [str(block) for block in found]


def test_the_workflow_of_the_page_is_the_examples() -> None:
    assert blocks("yaml") == [(ROOT / "docs_src" / "triage" / "workflows.yaml").read_text()]


def test_every_block_of_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = {"tmp_path": tmp_path}
    code = blocks("python")
    assert len(code) == 2
    for block in code:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - our own page
