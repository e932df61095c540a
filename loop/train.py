"""Train: the student learns the round's mix; and round 0, the control and the cache of what they share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from agents.replies import TrainingChoice
from loop.bench import Bench
from loop.crew import NO_LIMITS
from loop.jobs import ConvergeJob, Trained, TrainJob
from loop.records import Checkpoint, Example, as_json, digest
from loop.room import CHECKPOINT, Room

TRAINING = "training.json"
"""How a checkpoint came to be, inside its folder."""


def train_student(
    dataset: Sequence[Example], choice: TrainingChoice, start: Checkpoint, room: Room, bench: Bench
) -> Checkpoint:
    """The checkpoint that comes of training on from `start` on the dataset."""
    out = room.new_checkpoint()
    settings = bench.student.settings
    rate = settings.learning_rate * choice.learning_rate_scale
    job = TrainJob(
        start=str(bench.run / start.path),
        out=str(out),
        rows=tuple((row.prompt, row.response, row.copies) for row in dataset),
        settings=settings.model_copy(update={"learning_rate": rate}),
        weights=bench.student.weights,
        seed=bench.seed_for(room.name, "train"),
        epochs=choice.epochs,
        limits=bench.meter.limits((room.name, CHECKPOINT.name), trains=True),
        log=str(bench.training_log(room)),
    )
    return _publish(room, out, bench.train(room, CHECKPOINT, "train", job))


def train_control(tokens: int, choice: TrainingChoice, start: Checkpoint, room: Room, bench: Bench) -> Checkpoint:
    """A stretch of the control: the demonstrations alone, for as many tokens as the loop's round, on its schedule.

    Its cost was held back from the start, so no limit ends it.
    """
    out = room.new_checkpoint()
    rate = bench.student.settings.learning_rate * choice.learning_rate_scale
    job = TrainJob(
        start=str(bench.run / start.path),
        out=str(out),
        rows=tuple((row.prompt, row.response, 1) for row in bench.demonstrations),
        settings=bench.student.settings.model_copy(update={"learning_rate": rate}),
        weights=bench.student.weights,
        seed=bench.seed_for(room.name, "train"),
        tokens=tokens,
        limits=NO_LIMITS,
        log=str(bench.training_log(room)),
    )
    return _publish(room, out, bench.train(room, CHECKPOINT, "train", job))


def make_student(room: Room, bench: Bench) -> Checkpoint:
    """The student of round 0: trained on the demonstrations to convergence; cached by all that it depends on."""
    out = room.new_checkpoint()
    rows = tuple((d.prompt, d.response, 1) for d in bench.demonstrations)
    job = ConvergeJob(
        train=TrainJob(
            start="" if bench.student.architecture else bench.student.name,
            out=str(out),
            rows=rows,
            settings=bench.student.settings,
            weights=bench.student.weights,
            seed=bench.seed_for("000", "train"),
            limits=bench.meter.limits_of_round_zero(),
            log=str(bench.training_log(room)),
        ),
        architecture=bench.student.architecture,
        held_out=tuple((d.prompt, d.response) for d in bench.held_out),
        answer=bench.answer,
        max_new_tokens=bench.student.max_new_tokens,
    )
    shelf = _shelf(job, out)
    if shelf.exists():
        room.screen.note(f"the student of round 0 was trained before: taken from {shelf}")
        shutil.copytree(shelf, out, dirs_exist_ok=True)
        trained = Trained(**json.loads((out / TRAINING).read_text(encoding="utf-8")))
        bench.count_training(room, CHECKPOINT, trained)
    else:
        trained = bench.train(room, CHECKPOINT, "converge" if rows else "adopt", job)
    student = _publish(room, out, trained)
    if trained.stopped:
        words = "round 0 was cut short by the minutes of the budget: its student is not converged"
        room.ledger.event("not converged", words)
        room.screen.note(words)
    elif not shelf.exists():
        keep = shelf.with_name(f".{shelf.name}.{os.getpid()}")
        shutil.copytree(bench.run / student.path, keep)
        keep.rename(shelf)
    return student


def _shelf(job: ConvergeJob, out: Path) -> Path:
    """Where this very student is kept for other runs: known by everything that it depends on."""
    home = os.environ.get("LOOP_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "loop"
    code = [
        Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        for name in ("trainer", "convergence", "scratch")
    ]
    versions = [version(package) for package in ("torch", "transformers", "trl", "peft")]
    job = replace(job, train=replace(job.train, out="", log="", limits=NO_LIMITS))
    shelf = Path(home) / "students" / digest(asdict(job), code, versions)
    shelf.parent.mkdir(parents=True, exist_ok=True)
    return shelf


def _publish(room: Room, out: Path, trained: Trained) -> Checkpoint:
    (out / TRAINING).write_text(as_json(asdict(trained)), encoding="utf-8")
    path, manifest = room.publish_checkpoint(out)
    return Checkpoint(
        path=path,
        manifest=manifest,
        parameters=trained.parameters,
        steps=trained.steps,
        tokens=trained.tokens,
        loss=trained.loss,
    )
