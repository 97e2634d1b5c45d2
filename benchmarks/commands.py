"""CPU seconds of `agentflow --help` and `agentflow validate`, against starting Python with pydantic alone. Prints JSON."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
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


def main() -> None:
    pydantic = cpu_seconds([sys.executable, "-c", "import pydantic"])
    figures = {
        "import_pydantic_cpu_s": pydantic,
        "help_cpu_s": cpu_seconds([*AGENTFLOW, "--help"]),
        "validate_cpu_s": cpu_seconds([*AGENTFLOW, "validate", "workflows.yaml"]),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
