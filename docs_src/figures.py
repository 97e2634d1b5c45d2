"""Write docs/figures.txt, the README's table, from the world card: ``python docs_src/figures.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CARD = ROOT / "agentflow/worldmodel/worlds/tabletop/weights/card.json"


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


if __name__ == "__main__":
    (ROOT / "docs/figures.txt").write_text(table(json.loads(CARD.read_text())))
