"""The worlds in the box, one module each."""
