"""Run a workflow from Python and look at what it left."""

from agentflow import Agentflow

with Agentflow.open("workflows.yaml") as flow:
    result = flow.run("plan_push", goal="push the red block 20 cm to the left", candidates=32)
    print(result.status, f"predicted {result.outputs['predicted_distance_m'] * 100:.1f} cm from the goal")
    print(*(f"{v.guardrail} at {v.hook}: {v.verdict}" for v in result.verdicts[:3]), sep=", ")
    print(result.usage.spent, result.trace_path)
