"""Reinforcement on a student so small that it takes seconds: it learns from rewards, and from nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agents.training import GRPO
from loop.crew import Crew, Limits
from loop.errors import StageError
from loop.jobs import ConvergeJob, DrillJob, Trained, TrainJob
from loop.judging import Judge
from loop.objective import Demonstration, read_objective
from loop.presets import Architecture, TrainSettings
from loop.records import Problem, Sample
from loop.tasks import Tasks

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=128)
SETTINGS = TrainSettings(learning_rate=4e-3, rows_per_step=32, warmup=0.1)
OBJECTIVE = """---
student: scratch/tiny
demonstrations: demos.jsonl
tasks:
  practice: [{source: problems.jsonl, verifier: numeric}]
  dev: {from: practice, size: 300}
  test: {from: practice, size: 10}
budget: {rounds: 1}
---
Say the last number of the row.
"""


def quiet(done: float, total: float, rate: str) -> None: ...


def told(row: str, place: int) -> str:
    return f"#### {row.split()[place]}"


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    crew = Crew(tmp_path_factory.mktemp("logs"), lambda: None)
    crew.warm()
    yield crew


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    """Rows of three digits; of the demonstrations every other one says the first number in place of the last."""
    folder = tmp_path_factory.mktemp("objective")
    rows = [" ".join(f"{n:03}") for n in range(1000)]
    random.Random(7).shuffle(rows)
    demos = [{"prompt": row, "response": told(row, -(i % 2))} for i, row in enumerate(rows[:300])]
    problems = [{"prompt": row, "answer": row[-1], "skill": "last"} for row in rows[300:]]
    for name, lines in (("demos.jsonl", demos), ("problems.jsonl", problems)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "OBJECTIVE.md").write_text(OBJECTIVE)
    return Tasks(read_objective(folder / "OBJECTIVE.md"), [str(demo["prompt"]) for demo in demos])


@pytest.fixture(scope="module")
def student(crew: Crew, tasks: Tasks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("student")
    rows = tuple((prompt, told(prompt, -(i % 2))) for i, prompt in enumerate(ROWS[:300]))
    job = ConvergeJob(
        train=TrainJob("", str(out), tuple((p, r, 1) for p, r in rows[20:]), SETTINGS, "full", seed=0),
        architecture=SHAPE,
        held_out=rows[:20],
        answer="####",
        max_new_tokens=12,
        cycle=100,
        max_cycles=1,
    )
    crew.run("loop.training.convergence:converge", job, quiet, "converge")
    return out
