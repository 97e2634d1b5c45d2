"""Nothing paid is lost or done twice, whenever the process at work is killed: real processes, real SIGKILLs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PHASES = {"begun", "committing", "committed", "paying", "paid", "trace", "torn", "traced", "timer"}
WORKS = {"sequence", "branches", "within", "agent", "gate", "approvals", "pause"}


def chaos(*arguments: str) -> Any:
    """Run a campaign in a fresh process, which forks; return its figures. Its seed is in them."""
    done = subprocess.run(
        [sys.executable, str(HERE), *arguments], capture_output=True, text=True, timeout=1200, check=False
    )
    print(done.stdout, done.stderr)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_a_run_killed_at_each_of_its_commits_and_at_random_moments_pays_for_nothing_twice() -> None:
    figures = chaos("--kills", "300", "--sides", "one")
    assert figures["violations_shown"] == []
    assert figures["random_kills"] >= 300
    assert figures["boundary_kills"] >= 250  # the undisturbed runs commit about so often
    assert figures["missed_moments"] <= 10
    assert set(figures["kills_by_phase"]) == PHASES
    assert set(figures["kills_by_workflow"]) == WORKS
    assert figures["repeated_calls"] > 20  # kills did hit paid work
    assert figures["lost_holds"] >= figures["repeated_calls"]


def test_a_run_on_postgresql_pays_for_nothing_twice(postgresql_server: str) -> None:
    figures = chaos("--kills", "40", "--sides", "none", "--postgresql", postgresql_server)
    assert figures["violations_shown"] == []
    assert figures["random_kills"] >= 40
    assert set(figures["kills_by_workflow"]) == WORKS


def test_of_two_processes_that_go_on_with_one_run_one_does_and_the_other_hears_that_it_is_held() -> None:
    figures = chaos("--scene", "two")
    assert (figures["violations_shown"], figures["scenes"]) == ([], 3 * len(WORKS))


def test_a_process_that_was_frozen_beyond_its_lease_writes_nothing_when_it_wakes_up() -> None:
    figures = chaos("--scene", "frozen")
    assert (figures["violations_shown"], figures["scenes"]) == ([], 3 * len(WORKS))
