"""agentflow: guardrailed agent workflows around world models."""
