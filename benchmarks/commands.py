"""CPU seconds of `--help` and `validate`, against importing pydantic alone; wall seconds of the demo. Prints JSON."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
AGENTFLOW = [sys.executable, "-c", "from agentflow.cli.main import run; run()"]


def cpu_seconds(command: list[str], repeats: int = 7) -> float:
    taken = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(statistics.median(taken), 3)


def demo_seconds() -> float:
    goal = "push the red block 20 cm to the left, keep away from the glass"
    begin = time.perf_counter()
    subprocess.run(
        [*AGENTFLOW, "run", "plan_push", "--goal", goal], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return round(time.perf_counter() - begin, 1)


def main() -> None:
    pydantic = cpu_seconds([sys.executable, "-c", "import pydantic"])
    figures = {
        "import_pydantic_cpu_s": pydantic,
        "help_cpu_s": cpu_seconds([*AGENTFLOW, "--help"]),
        "validate_cpu_s": cpu_seconds([*AGENTFLOW, "validate", "workflows.yaml"]),
        "demo_wall_s": demo_seconds(),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
