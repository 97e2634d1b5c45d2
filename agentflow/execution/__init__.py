"""Execution: the one envelope around every call, and what it needs of a run."""
