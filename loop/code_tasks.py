"""Tasks whose scorer would run what a model wrote as code: refused until there is a sandbox."""

from __future__ import annotations

RUNS_ANSWERS = frozenset(
    ("binary_matrix", "countdown", "intermediate_integration", "n_queens", "polynomial_multiplication", "puzzle24",
     "simple_integration", "spiral_matrix", "string_insertion")
)  # fmt: skip
"""Of reasoning_gym: they hand the answer to Python's eval, or to sympy's parse_expr, which calls it."""
