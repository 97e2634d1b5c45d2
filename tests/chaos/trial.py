"""A trial: one run from its beginning to its end, through as many deaths as are planned for it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from checks import Reference, at_every_death, at_the_end
from lives import Life, Stage, live
from moments import Death
from records import Files, Records

MOST_LIVES = 40
ENDED = ("succeeded", "degraded", "failed", "refused", "exhausted", "cancelled")


@dataclass
class Trial:
    """What came of it."""

    lives: list[Life] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    """Those that happened."""
    violations: list[str] = field(default_factory=list)
    repeated: int = 0
    lost: int = 0


def undisturbed(stage: Stage) -> tuple[Reference, list[Life]]:
    """Run without any death; return what it left, and the lives that it took.

    Raises:
        AssertionError: it does not end well even so.
    """
    lives, records, _ = _through(stage, [], random.Random(0), [])
    broken = [life.said for life in lives if "broken" in life.said or "error" in life.said]
    if broken or records.run.get("status") != "succeeded":
        raise AssertionError(f"{stage.work.name}: {broken or records.run.get('error')}")
    return Reference.of(records), lives


def trial(stage: Stage, reference: Reference, deaths: Sequence[Death | None], rng: random.Random) -> Trial:
    """Let the lives of a run die as planned, one after the other (None lives on), and check what is left."""
    done = Trial()
    done.lives, records, planned = _through(stage, list(deaths), rng, done.violations)
    done.deaths = [death for death, life in zip(planned, done.lives, strict=False) if death and life.killed]
    for life in done.lives:
        if "broken" in life.said or "error" in life.said:
            done.violations.append(f"{life.action}: {life.said.get('broken') or life.said}")
    if not records.run:
        return done
    files = Files.of(stage, records.run["id"])
    done.violations += at_the_end(
        records, reference, len(done.deaths), files, same_questions=stage.work.same_questions
    )
    done.repeated = len(records.begun) - reference.calls.total()
    done.lost = sum(hold["state"] == "lost" for hold in records.tables["ledger_holds"])
    return done


def _through(
    stage: Stage, deaths: list[Death | None], rng: random.Random, violations: list[str]
) -> tuple[list[Life], Records, list[Death | None]]:
    lives: list[Life] = []
    records, stood = Records.of(stage), dict[Any, Any]()
    while len(lives) < MOST_LIVES:
        action = _next(records, rng)
        if not action:
            return lives, records, deaths
        lives.append(live(stage, action, deaths[len(lives)] if len(lives) < len(deaths) else None))
        records = Records.of(stage)
        violations += at_every_death(stood, records)
        stood = records.settled()
        if "broken" in lives[-1].said:
            return lives, records, deaths
    violations.append(f"no end after {MOST_LIVES} lives: {[life.said.get('status') for life in lives]}")
    return lives, records, deaths


def _next(records: Records, rng: random.Random) -> str:
    """Return what is to be done next, or nothing."""
    match records.run.get("status"):
        case None:
            return "run"
        case "waiting" if records.open_questions:
            return "decide"
        case status if status in ENDED:
            return ""
    return rng.choice(("resume", "worker"))
