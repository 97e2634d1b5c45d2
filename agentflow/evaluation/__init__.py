"""Measuring what was promised: world cards and planning against the true simulator."""
