"""Five ways to get resuming wrong, each planted in a copy of the tree: the crash test must see every one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = sorted((ROOT / "tests" / "mutants").glob("*.diff"))
PROOF = "tests/test_crash.py::test_death_at_every_failpoint"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda path: path.stem)
def test_a_planted_mutant_is_caught(mutant: Path, tmp_path: Path) -> None:
    copy_tree(tmp_path)
    applied = subprocess.run(["git", "apply", "--verbose", mutant], cwd=tmp_path, capture_output=True, text=True)
    assert applied.returncode == 0, applied.stderr
    tested = run_tests(tmp_path, PROOF)
    assert tested.returncode == 1, tested.stdout
    assert "\nkilled at failpoint (" in tested.stdout, "it fails, but not for what a killed run came to"
    assert "1 failed" in tested.stdout


def test_there_are_five_mutants_and_a_copy_without_one_passes(tmp_path: Path) -> None:
    assert len(MUTANTS) == 5
    copy_tree(tmp_path)
    tested = run_tests(tmp_path, f"{PROOF}[0]")
    assert tested.returncode == 0, tested.stdout


def copy_tree(to: Path) -> None:
    """What the crash test needs."""
    for name in ("loop", "agents", "templates", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)


def run_tests(tree: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a copy with the copy's code, up to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", tests]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=600)
