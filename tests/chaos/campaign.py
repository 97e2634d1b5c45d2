"""A campaign: many trials of many workflows, at every commit and at random moments, and the figures of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from checks import Reference
from lives import Life, Stage, warm_up
from moments import COMMITS, KINDS, Death
from trial import Trial, trial, undisturbed
from works import WORKS, Work

SIDES = ("none", "one", "all")
"""Which moments of the undisturbed run are died at: none; each commit, on a side in turns; all of any kind."""
SHOWN = 20
"""How many violations a report lists."""
LONGEST_US = 120_000
"""After which time a clock kills at the latest; most lives take less."""


@dataclass(frozen=True)
class Planned:
    """A trial to be done: named, so that the seed and the name bring it back."""

    work: str
    name: str
    deaths: tuple[Death | None, ...]
    boundary: bool = False


@dataclass
class Figures:
    """What came of trials; those of several processes add up."""

    trials: int = 0
    lives: int = 0
    kills: int = 0
    random_kills: int = 0
    boundary_kills: int = 0
    kills_by_phase: Counter[str] = field(default_factory=Counter)
    kills_by_workflow: Counter[str] = field(default_factory=Counter)
    missed_moments: int = 0
    """Of the undisturbed run, which did not come: what runs side by side may come in another order."""
    repeated_calls: int = 0
    lost_holds: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, planned: Planned, done: Trial, seed: int) -> None:
        """Add a trial."""
        kills = len(done.deaths)
        exact = int(planned.boundary and bool(done.deaths) and done.deaths[0] in planned.deaths)
        self.trials += 1
        self.lives += len(done.lives)
        self.kills += kills
        self.boundary_kills += exact
        self.random_kills += kills - exact
        self.kills_by_phase.update(death.kind for death in done.deaths)
        self.kills_by_workflow[planned.work] += kills
        self.repeated_calls += done.repeated
        self.lost_holds += done.lost
        again = f"--seed {seed} --only {planned.work}/{planned.name}"
        self.missed_moments += planned.boundary and not exact
        self.violations += [f"{again}: {text}" for text in done.violations]

    def merge(self, other: dict[str, Any]) -> None:
        """Add the figures of another process."""
        for name, value in other.items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)


@dataclass
class Campaign:
    """Trials of ``works`` below ``folder``, each on a database of its own; ``server`` is the address of PostgreSQL."""

    folder: Path
    seed: int
    works: Sequence[str]
    server: str | None = None
    references: dict[str, tuple[Reference, list[Life]]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Warm up, and see how each workflow goes when nobody kills it."""
        for name in self.works:
            with self.stage(WORKS[name]) as stage:
                warm_up(stage)
            with self.stage(WORKS[name]) as stage:
                self.references[name] = undisturbed(stage)

    @contextmanager
    def stage(self, work: Work) -> Iterator[Stage]:
        """A project and a database that nobody has used."""
        root = self.folder / f"{work.name}-{uuid.uuid4().hex[:8]}"
        work.write(root)
        with _schema(self.server) as url:
            yield Stage(work, root, url)
        shutil.rmtree(root)

    def boundaries(self, sides: str) -> Iterator[Planned]:
        """One trial for each moment of each life of each workflow, of the kinds that ``sides`` means (`SIDES`)."""
        for work, (_, lives) in self.references.items():
            for index, life in enumerate(lives):
                for kind, number in _moments(life, sides):
                    name = f"{index}-{kind}-{number}"
                    more = self._random(work, f"{work}/{name}", 1 + number % 2)
                    yield Planned(work, name, (*[None] * index, Death(kind, number), *more), boundary=True)

    def at_random(self) -> Iterator[Planned]:
        """Trials without end."""
        number = 0
        while True:
            for work in self.works:
                rng = random.Random(f"{self.seed}/{work}/{number}/how many")
                yield Planned(work, f"r{number}", self._random(work, f"{work}/r{number}", rng.randint(1, 5)))
            number += 1

    def _random(self, work: str, name: str, count: int) -> tuple[Death, ...]:
        rng, (_, lives) = random.Random(f"{self.seed}/{name}"), self.references[work]
        deaths = []
        for _ in range(count):
            if rng.random() < 0.4:
                deaths.append(Death("timer", rng.randint(1_000, LONGEST_US)))
            else:
                kind = rng.choice(KINDS)
                deaths.append(Death(kind, rng.randint(1, max(life.counts[kind] for life in lives))))
        return tuple(deaths)

    def do(self, planned: Planned) -> Trial:
        """Do a trial."""
        with self.stage(WORKS[planned.work]) as stage:
            rng = random.Random(f"{self.seed}/{planned.work}/{planned.name}/lives")
            return trial(stage, self.references[planned.work][0], planned.deaths, rng)

    def find(self, only: str) -> Planned:
        """Return the trial of a name as a report gives it."""
        work, _, name = only.partition("/")
        if name.startswith("r"):
            wanted = int(name[1:])
            return next(p for p in self.at_random() if (p.work, p.name) == (work, f"r{wanted}"))
        return next(p for p in self.boundaries("all") if (p.work, p.name) == (work, name))


def _moments(life: Life, sides: str) -> Iterator[tuple[str, int]]:
    for kind in () if sides == "none" else KINDS if sides == "all" else COMMITS[1:]:
        for number in range(1, life.counts.get(kind, 0) + 1):
            if sides == "all" or COMMITS[1:][number % 2] == kind:
                yield kind, number


def conduct(campaign: Campaign, kills: int, sides: str, jobs: int) -> Figures:
    """Do all boundaries, then trials at random until there are ``kills`` of them at random, in ``jobs`` processes."""
    pipes = []
    for job in range(jobs):
        reading, writing = os.pipe()
        if not os.fork():
            os.close(reading)
            figures = _share(campaign, kills // jobs + 1, sides, job, jobs)
            with os.fdopen(writing, "w") as pipe:
                json.dump(vars(figures), pipe)
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    total = Figures()
    for reading in pipes:
        with os.fdopen(reading) as pipe:
            total.merge(json.loads(pipe.read()))
        os.wait()
    return total


def _share(campaign: Campaign, kills: int, sides: str, job: int, jobs: int) -> Figures:
    """Do every ``jobs``-th trial."""
    figures = Figures()
    try:
        for index, planned in enumerate(campaign.boundaries(sides)):
            if index % jobs == job:
                figures.add(planned, campaign.do(planned), campaign.seed)
        for index, planned in enumerate(campaign.at_random()):
            if figures.random_kills >= kills:
                return figures
            if index % jobs == job:
                figures.add(planned, campaign.do(planned), campaign.seed)
    except Exception as error:  # a defect of the campaign itself must not pass for a good end
        figures.violations.append(f"the campaign broke: {type(error).__name__}: {error}")
    return figures


def report(campaign: Campaign, figures: Figures, began_s: float) -> dict[str, Any]:
    """Return the figures as JSON."""
    return {
        "seed": campaign.seed,
        "database": "sqlite" if campaign.server is None else "postgresql",
        **vars(figures),
        "kills_by_phase": dict(sorted(figures.kills_by_phase.items())),
        "violations": len(figures.violations),
        "violations_shown": figures.violations[:SHOWN],
        "wall_s": round(time.monotonic() - began_s, 1),
    }


@contextmanager
def _schema(server: str | None) -> Iterator[str | None]:
    """An empty schema of its own on a PostgreSQL server."""
    if server is None:
        yield None
        return
    import psycopg

    name = f"chaos_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    try:
        yield f"{server}{'&' if '?' in server else '?'}options={quote(f'-csearch_path={name}')}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {name} CASCADE")
