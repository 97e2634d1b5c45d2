"""The name `agentflow` on the package index is somebody else's: nothing here may tell anybody to install that."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "Makefile", "*.toml", "docs/**/*", "docs_src/**/*", "agentflow/**/*.py", "tools/*", "guardrails/*")
STRANGER = re.compile(r"""\b(?:install|add|uvx|pipx run)\s+(?:-\S+\s+)*["'`]?agentflow(?![-\w/.])""", re.IGNORECASE)


@pytest.mark.parametrize("text", ["pip install agentflow", "uv add 'agentflow[worlds]'", "pip install -U agentflow\n"])
def test_an_instruction_to_install_the_stranger_is_recognised(text):
    assert STRANGER.search(text)


@pytest.mark.parametrize("text", ["pip install agentflow-worlds", "pip install 'agentflow-worlds[worlds]'"])
def test_an_instruction_to_install_this_one_is_fine(text):
    assert not STRANGER.search(text)


def test_no_page_or_message_says_to_install_the_stranger():
    files = {path for place in PLACES for path in ROOT.glob(place) if path.is_file()}
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix not in (".png", ".gif", ".mp4")}
    assert ROOT / "README.md" in texts
    assert [str(path) for path, text in texts.items() if STRANGER.search(text)] == []
