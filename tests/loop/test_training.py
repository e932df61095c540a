"""What every training shares: it goes on where it was killed, and stops when it goes astray."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_trainer import ROWS, SETTINGS, SHAPE, quiet

from loop.crew import Crew
from loop.errors import StageError
from loop.jobs import STEPS, Trained, TrainJob

SFT = "loop.training.sft:sft"
CONVERGE = "loop.training.convergence:converge"


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    crew = Crew(tmp_path_factory.mktemp("logs"), lambda: None)
    crew.warm()
    yield crew


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from loop.training.scratch import build_student

    folder = tmp_path_factory.mktemp("student")
    build_student(SHAPE, ROWS, folder, seed=0)
    return folder


def a_job(student: Path, out: Path, **changes: object) -> TrainJob:
    out.mkdir(parents=True)
    rows = tuple((prompt, response, 1) for prompt, response in ROWS)
    job = TrainJob(str(student), str(out), rows, SETTINGS, "full", seed=1, epochs=10, keep_every=0.0)
    return replace(job, log=str(out.with_suffix(".jsonl")), **changes)


def killed_at(crew: Crew, work: str, job: object, step: int) -> None:
    """Have it done, and kill the child by SIGKILL when it reports the step."""

    def kill(done: float, total: float, rate: str) -> None:
        if done >= step:
            for process in multiprocessing.active_children():
                process.kill()

    with pytest.raises(StageError, match="the process died"):
        crew.run(work, job, kill, "killed")


def logged(job: TrainJob, what: str = "loss") -> dict[int, float]:
    """What the log says by step; a step that was done again counts as it was done last."""
    rows = [json.loads(line) for line in Path(job.log).read_text().splitlines()]
    return {row["step"]: row[what] for row in rows if what in row}


def weights_of(job: TrainJob) -> bytes:
    return next(Path(job.out).glob("*.safetensors")).read_bytes()


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_killed_training_goes_on_and_ends_as_the_unbroken_one(
    crew: Crew, student: Path, tmp_path: Path, weights: str
) -> None:
    """To the last bit, on one thread: weights, every logged loss, tokens."""
    unbroken, broken = (a_job(student, tmp_path / name / "out", weights=weights) for name in ("whole", "killed"))
    wanted: Trained = crew.run(SFT, replace(unbroken, keep_every=None), quiet, "whole").result
    assert not Path(unbroken.out + STEPS).exists()
    killed_at(crew, SFT, broken, step=50)
    steps = list(Path(broken.out + STEPS).glob("step-*"))
    assert len(steps) == 1 and steps[0].name.split("-")[1] in ("40", "50")
    went_on: Trained = crew.run(SFT, broken, quiet, "killed").result
    assert went_on.note.startswith("training goes on from step ") and went_on.steps == wanted.steps == 70
    assert (went_on.tokens, went_on.loss) == (wanted.tokens, wanted.loss)
    assert logged(broken) == logged(unbroken) and weights_of(broken) == weights_of(unbroken)
