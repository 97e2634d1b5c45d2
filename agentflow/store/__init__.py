"""What a project keeps: runs, steps, verdicts, scores, artifacts, and the rows of the budget ledger."""
