"""The paper's experiments, and our runs beside its numbers."""
