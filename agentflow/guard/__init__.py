"""Guardrails at work: what is checked is what runs, and what cannot be judged does not pass."""
