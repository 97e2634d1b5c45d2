"""The name `agentflow` on the package index is somebody else's: nothing here says to install that."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("*.md", "*.yaml", "*.toml", "Makefile", "docs/**/*.md")
SOURCES = ("agentflow", "tools", "guardrails", "evals", "tests", "benchmarks", "docs_src")
STRANGER = re.compile(r"""\b(?:install|add|uvx|pipx run)\s+(?:-\S+\s+)*["'`]?agentflow(?![-\w/.])""")


@pytest.mark.parametrize(
    "text", ["pip install agentflow", "uv add 'agentflow[worlds]'", "pip install -U agentflow\n"]
)
def test_an_instruction_to_install_the_stranger_is_recognised(text):
    assert STRANGER.search(text)


@pytest.mark.parametrize("text", ["pip install agentflow-worlds", "pip install 'agentflow-worlds[worlds]'"])
def test_an_instruction_to_install_this_one_is_fine(text):
    assert not STRANGER.search(text)


def test_no_page_or_message_says_to_install_the_stranger():
    files = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    files |= {path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")} - {Path(__file__)}
    assert ROOT / "README.md" in files
    assert [str(path) for path in files if STRANGER.search(path.read_text(encoding="utf-8"))] == []
