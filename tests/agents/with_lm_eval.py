"""Where lm-eval is for tests, and the marks of a test that needs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MADE = Path(__file__).parents[2] / ".venv-harness" / "bin" / "python"
PYTHON = os.environ.get("LOOP_HARNESS_PYTHON") or (str(MADE) if MADE.exists() else "")

needs_lm_eval = [
    pytest.mark.harness,
    pytest.mark.skipif(not PYTHON, reason="no lm-eval: `make harness`, or name its Python in LOOP_HARNESS_PYTHON"),
]
