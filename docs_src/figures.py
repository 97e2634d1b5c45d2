"""Fill in measured figures: ``python docs_src/figures.py [--check]``.

docs/figures.txt, the README's table, comes from the world card. The rows of benchmarks/README.md stand beside this file
in benchmarks.yaml, their figures in benchmarks/results/, as the programs printed them. What is not there was not
measured, and the table says so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent
CARD = ROOT / "agentflow/worldmodel/worlds/tabletop/weights/card.json"
RESULTS = ROOT / "benchmarks/results"
FIGURES = ROOT / "docs/figures.txt"
COSTS = ROOT / "benchmarks/README.md"


class Cost(NamedTuple):
    """A row of the benchmarks' table, as benchmarks.yaml explains it."""

    results: str
    what: str
    figure: str
    aim: str = ""
    beside: str = ""
    command: str = ""
    """What writes the results, where that is not the program of their name."""


ROWS = tuple(Cost(**row) for row in yaml.safe_load((ROOT / "docs_src/benchmarks.yaml").read_text()))
NOT_MEASURED = "not measured yet"
_HOLE = re.compile(r"\{(?P<name>[^{}:*]+)(?:\*(?P<scale>\d+))?(?::(?P<format>[^}]*))?\}")
_TABLE = re.compile(r"(<!-- figures -->\n)(?:\|.*\n)*")


def costs(text: str, results: Mapping[str, Any]) -> str:
    """Return benchmarks/README.md with its table as the results have it; ``results`` by the names of their files."""
    head = ("what", "command", "figure", "aim", "beside it, in the same run")
    rows = [head, tuple("---" for _ in head), *(_row(cost, results.get(cost.results, {})) for cost in ROWS)]
    return _TABLE.sub(lambda found: found[1] + "".join(f"| {' | '.join(row)} |\n" for row in rows), text)


def _row(cost: Cost, result: Mapping[str, Any]) -> tuple[str, ...]:
    figure, aim, beside = (_filled(text, result) for text in (cost.figure, cost.aim, cost.beside))
    what = _filled(cost.what, result) or _HOLE.sub("…", cost.what)
    command = cost.command or f"python benchmarks/{cost.results}.py"
    return what, f"`{command}`", figure or NOT_MEASURED, aim or "", beside or ""


def _filled(text: str, result: Mapping[str, Any]) -> str | None:
    """Return a text with its figures, or None where one of them is not there."""
    try:
        return _HOLE.sub(lambda hole: _figure(hole, result), text)
    except KeyError:
        return None


def _figure(hole: re.Match[str], found: Any) -> str:
    for part in hole["name"].split("."):
        found = found[part]
    return format(found * int(hole["scale"]) if hole["scale"] else found, hole["format"] or "")


def table(card: dict[str, Any]) -> str:
    """Return the card's main figures as text."""
    found = card["evaluation"]["predictions"]
    lines = [
        f"blocks that moved, {found['episodes']} held-out episodes, {len(found['seeds'])} seeds; errors in cm",
        "steps  median  RMSE  RMSE/floor*  nothing changes  constant velocity  coverage of 90 %  on moved",
    ]
    for steps, row in found["by_horizon"].items():
        lines.append(
            f"{steps:>5}  {row['median']['model']:>6.2f}  {row['rmse']['model']:>4.1f}  "
            f"{row['rmse_over_floor']:>11.2f}  "
            f"{row['rmse']['still']:>15.1f}  {row['rmse']['velocity']:>17.1f}  {row['coverage90']['all']:>16.1%}  "
            f"{row['coverage90']['moved']:>8.1%}"
        )
    plans = card["evaluation"]["planning"]
    lines += [
        "* the simulator against itself, restarted with bodies shifted by 2 mm",
        f"planning to {plans['tolerance_cm']:g} cm around the glass, {plans['scenes']} scenes, solved [95 % interval]",
    ]
    names = {
        "model": "with the learned model",
        "simulator": "in the true simulator",
        "without_model": "without a model",
        "random": "at random",
    }
    for arm, words in names.items():
        row = plans["arms"][arm]
        low, high = row["interval95"]
        lines.append(f"  {words:<24}{row['rate']:>6.0%}  [{low:.0%}, {high:.0%}]")
    short = card["below_its_aims"]
    lines += ["below its aims: " + ("; ".join(short) if short else "nothing")]
    return "\n".join(lines) + "\n"


def result(path: Path) -> Any:
    """Return what a benchmark printed; of several lines of JSON, each by the name of its database."""
    text = path.read_text()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        lines = [json.loads(line) for line in text.splitlines()]
        return {line["database"]: line for line in lines}


def texts() -> dict[Path, str]:
    """Return the files that hold figures, as they are to be now."""
    results = {path.stem: result(path) for path in RESULTS.glob("*.json")}
    return {FIGURES: table(json.loads(CARD.read_text())), COSTS: costs(COSTS.read_text(), results)}


def main() -> int:
    """Write the files, or with ``--check`` say whether they are fresh."""
    stale = {path: text for path, text in texts().items() if path.read_text() != text}
    for path, text in stale.items():
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is stale: run python docs_src/figures.py")
        else:
            path.write_text(text)
    if NOT_MEASURED in COSTS.read_text():
        print(f"benchmarks/README.md: some figures are {NOT_MEASURED}", file=sys.stderr)
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
