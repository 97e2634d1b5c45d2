"""Workflow files: read with positions, checked as a whole, and run as graphs."""
