"""The words everything else is written in: amounts, subjects, verdicts, scores, errors, the registry."""
