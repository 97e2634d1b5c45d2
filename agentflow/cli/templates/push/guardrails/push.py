"""What a prediction must not show."""

import numpy as np

from agentflow import Subject, Verdict, guardrail
from agentflow.worldmodel.worlds.tabletop import scene


@guardrail(hooks=["predicted_state"])
def on_the_table(subject: Subject, half_m: float = 0.5) -> Verdict:
    """Deny a prediction in which something leaves the table, which is 2 × ``half_m`` wide."""
    furthest = float(np.abs(scene.positions(subject.value["rollout"].states)).max())
    if furthest > half_m:
        return Verdict.deny(f"something comes {furthest:.2f} m from the middle", furthest_m=furthest)
    return Verdict.allow(f"everything stays within {furthest:.2f} m", furthest_m=furthest)
