"""Everything shipped in the box: tools, guardrails and scorers that any project may name."""
