"""Kills runs, again and again, and says what was lost or done twice.

    python tests/chaos [--kills 300] [--sides one] [--works sequence,gate] [--seed 1] [--jobs 2] [--out FILE]
    python tests/chaos --seed 1 --only gate/0-committed-17

Each trial is a run in processes of its own, forks of this one, that SIGKILL ends: at each commit of the undisturbed run
(``--sides one``: before or after it in turns; ``all``: at each moment of any kind, see ``moments.py``), and at random
moments until there were ``--kills`` of those. Prints its figures as JSON; exits with 1 where something did not hold.

A violation names its seed and trial, which bring it back; a death by the clock ("timer") comes only about when it came.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from campaign import SIDES, Campaign, Figures, conduct, report
from rivals import SCENES, play
from works import WORKS

# Imported before any fork: each would import it again.
import agentflow.workflow.checkpoints
import agentflow.workflow.compiler  # noqa: F401


def main() -> int:
    """Do as the arguments say."""
    asked = _arguments()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        campaign = Campaign(Path(folder), asked.seed, asked.works.split(","), asked.postgresql)
        campaign.prepare()
        if asked.scene:
            played = play(campaign, asked.scene)
            print(json.dumps(played, indent=2))
            return bool(played["violations_shown"])
        if asked.only:
            figures, planned = Figures(), campaign.find(asked.only)
            done = campaign.do(planned)
            for life in done.lives:
                print(life, file=sys.stderr)
            figures.add(planned, done, asked.seed)
        else:
            figures = conduct(campaign, asked.kills, asked.sides, asked.jobs)
        said = json.dumps(report(campaign, figures, began_s), indent=2)
    print(said)
    if asked.out:
        asked.out.write_text(said + "\n")
    return bool(figures.violations)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=300, help="how many at random moments")
    parser.add_argument(
        "--sides", choices=SIDES, default="one", help="at which moments of the undisturbed run"
    )
    parser.add_argument("--works", default=",".join(WORKS), help="which workflows")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--only", default="", help="one trial, as a report names it")
    parser.add_argument("--scene", choices=("", *SCENES), default="", help="processes that want the same run")
    parser.add_argument("--postgresql", help="the address of a server, in place of SQLite files")
    parser.add_argument("--out", type=Path, help="where to write the figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
