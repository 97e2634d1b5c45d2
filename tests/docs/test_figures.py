from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_readmes_figures_are_the_cards() -> None:
    module = runpy.run_path(str(ROOT / "docs_src/figures.py"))
    assert module["table"](json.loads(module["CARD"].read_text())) == (ROOT / "docs/figures.txt").read_text()
