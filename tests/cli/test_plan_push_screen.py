"""The main job as a newcomer sees it: the screen, its widths, the report and the video."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SENTENCE = "push the red block 20 cm to the left, keep away from the glass"
START = {
    "bodies": {
        "red block": {"x": 0.1, "y": 0.0},
        "blue block": {"x": -0.25, "y": 0.3},
        "green disc": {"x": 0.3, "y": 0.3},
        "glass": {"x": -0.3, "y": -0.3},
    },
    "tip": {"x": 0.35, "y": -0.05},
}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A copy of the root project in which the plan was made once, and what was said."""
    root = tmp_path_factory.mktemp("reference")
    shutil.copy(ROOT / "workflows.yaml", root)
    for folder in ("tools", "guardrails", "evals"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    said = command(
        root, "run", "plan_push", "--goal", SENTENCE, "--candidates", "16", "--scene", json.dumps(START)
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return root, said


def command(root, *arguments, **environment):
    program = [sys.executable, "-m", "agentflow.cli.main", *arguments]
    given = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(program, cwd=root, env=given, capture_output=True, text=True, timeout=300)


def test_the_screen_holds_what_a_newcomer_asks_about(pushed):
    _, said = pushed
    for expected in (
        SENTENCE, "candidate 1 of", "sequences tried", "best cost", "the baseline",
        "the world model predicts", "the true simulator says", "left to the goal", "glass touched",
        "90 % radius", "of the red block at the end", "trusted horizon",
        "prompt_injection", "robot_arm.keep_out", "trusted_horizon",
        "tokens", "USD", "GPU-seconds", "frames", "wall-clock", "reserved", "15 min",
        "prediction.mp4", "report.html", "trace.jsonl",
    ):  # fmt: skip
        assert expected in said.stdout


def test_progress_says_rounds_and_frames(pushed):
    _, said = pushed
    assert "plan: round 1: best" in said.stderr
    assert "render: filming" in said.stderr


@pytest.mark.parametrize("width", [80, 100])
def test_the_screen_fits_its_width(pushed, width):
    root, _ = pushed
    shown = command(root, "show", "last", COLUMNS=str(width)).stdout
    assert max(map(len, shown.splitlines())) <= width
    assert "left to the goal" in shown


def test_a_wide_terminal_gets_no_wider_screen(pushed):
    root, said = pushed
    assert command(root, "show", "last", COLUMNS="300").stdout == said.stdout


def test_no_color_is_respected_on_a_terminal(pushed):
    root, _ = pushed
    colours = command(root, "show", "last", FORCE_COLOR="1").stdout
    plain = command(root, "show", "last", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b[32m" in colours
    assert "\x1b[32m" not in plain


def test_the_video_has_a_friendly_name_and_the_report_shows_it(pushed):
    root, _ = pushed
    [folder] = (root / ".agentflow" / "runs").iterdir()
    video = (folder / "prediction.mp4").read_bytes()
    assert video[4:8] == b"ftyp"
    page = Page((folder / "report.html").read_text())
    assert page.sources == ["prediction.mp4"]
    assert SENTENCE in page.text
    for expected in ("the true simulator says", "trusted horizon", "robot_arm.keep_out", "GPU-seconds"):
        assert expected in page.text
    assert page.open == []


class Page(HTMLParser):
    """A page as a browser takes it in: its text, what it loads, and tags that were never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.sources, self.open = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.sources += [given[name] for name in ("src", "href") if name in given]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
