"""Train: the student learns the round's mix; and round 0, the control and the cache of what they share."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from agents.training import SFT, TrainingChoice
from loop.bench import Bench
from loop.crew import NO_LIMITS
from loop.files import as_json
from loop.jobs import TRAINING, ConvergeJob, DrillJob, TrainJob
from loop.jury import jury
from loop.lessons import Lessons, job_of
from loop.presets import TrainSettings
from loop.records import Checkpoint, digest
from loop.room import CHECKPOINT, Room
from loop.trained import Trained

Rows = tuple[tuple[str, str, int], ...]
"""Prompt, response and copies."""


def train_student(
    lessons: Lessons, choice: TrainingChoice, start: Checkpoint, room: Room, bench: Bench
) -> Checkpoint:
    """The checkpoint that comes of training on from `start` by the plan's method.

    Raises: NothingToLearn when there is nothing that the method could learn from; StageError when a critic that
    rewards is gone.
    """
    limits = bench.meter.limits((room.name, CHECKPOINT.name), trains=True)
    job = _from(start, choice, replace(_job((), room, bench), epochs=choice.epochs, limits=limits), bench)
    lesson = job_of(lessons, choice, job, start, room, bench)
    names = lesson.critics if isinstance(lesson, DrillJob) else ()
    with jury(names, lessons.calibrations, lessons.judged, room, bench) as critics:
        trained = bench.train(room, CHECKPOINT, choice.method, lesson, critics.judge if critics else None)
        if critics and trained.reinforced:
            trained = replace(trained, reinforced=replace(trained.reinforced, talk=critics.tokens))
    return _publish(room, Path(job.out), trained)


def train_control(tokens: int, choice: TrainingChoice, start: Checkpoint, room: Room, bench: Bench) -> Checkpoint:
    """A stretch of the control: the demonstrations alone, for as many tokens as the loop's round, on its schedule.

    Its cost was held back from the start, so no limit ends it. It is supervised, whatever the round's method was.
    """
    choice = choice if isinstance(choice, SFT) else SFT()
    job = _from(start, choice, replace(_job(_demonstrated(bench), room, bench), tokens=tokens), bench)
    return _publish(room, Path(job.out), bench.train(room, CHECKPOINT, choice.method, job))


def make_student(room: Room, bench: Bench, **pace: int) -> Checkpoint:
    """The student of round 0: trained on the demonstrations to convergence; cached by all that it depends on.

    Args: pace: the fields cycle, patience and max_cycles of ConvergeJob, where they are not the usual ones.
    """
    start = "" if bench.student.architecture else bench.student.name
    train = replace(_job(_demonstrated(bench), room, bench), start=start, limits=bench.meter.limits_of_round_zero())
    if bench.student.architecture:
        train = replace(train, weights="full")  # there is no base yet that an adapter could belong to
    out = Path(train.out)
    job = ConvergeJob(
        train=train,
        architecture=bench.student.architecture,
        held_out=tuple((d.prompt, d.response) for d in bench.held_out),
        answer=bench.answer,
        max_new_tokens=bench.student.max_new_tokens,
        **pace,
    )
    shelf = _shelf(job)
    if shelf.exists():
        room.screen.note(f"the student of round 0 was trained before: taken from {shelf}")
        shutil.copytree(shelf, out, dirs_exist_ok=True)
        trained = Trained(**json.loads((out / TRAINING).read_text(encoding="utf-8")))
        bench.count_training(room, CHECKPOINT, trained)
    else:
        trained = bench.train(room, CHECKPOINT, "converge" if train.rows else "adopt", job)
    student = _publish(room, out, trained)
    if trained.stopped:
        words = "round 0 was cut short by the minutes of the budget: its student is not converged"
        room.tell("not converged", words)
    elif not shelf.exists():
        keep = shelf.with_name(f".{shelf.name}.{os.getpid()}")
        shutil.copytree(bench.run / student.path, keep)
        keep.rename(shelf)
    return student


def _demonstrated(bench: Bench) -> Rows:
    return tuple((row.prompt, row.response, 1) for row in bench.demonstrations)


def _job(rows: Rows, room: Room, bench: Bench) -> TrainJob:
    """What all training of a run has in common: from nothing yet, without a limit, into an empty folder."""
    return TrainJob(
        start="",
        out=str(room.new_checkpoint()),
        rows=rows,
        settings=bench.student.settings,
        weights=bench.student.weights,
        seed=bench.seed_for(room.name, "train"),
        log=str(bench.training_log(room, CHECKPOINT)),
    )


def _from(start: Checkpoint, choice: TrainingChoice, job: TrainJob, bench: Bench) -> TrainJob:
    return replace(job, start=str(bench.run / start.path), settings=settings_of(choice, job.settings))


def settings_of(choice: TrainingChoice, usual: TrainSettings) -> TrainSettings:
    """The student's settings with what the plan has chosen otherwise."""
    rate = usual.learning_rate * choice.rate * choice.learning_rate_scale
    names = TrainSettings.model_fields.keys() - {"epochs"} if isinstance(choice, SFT) else set()
    return usual.model_copy(update={**choice.model_dump(include=names, exclude_none=True), "learning_rate": rate})


def _shelf(job: ConvergeJob) -> Path:
    """Where this very student is kept for other runs: known by everything that it depends on."""
    home = os.environ.get("LOOP_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "loop"
    trainers = Path(__file__).with_name("training")
    engine = Path(__file__).parents[1] / "agents/engines/transformers.py"
    rooms = ("arguments", "student", "watch", "looks", "sft", "convergence", "scratch")
    code = [path.read_text(encoding="utf-8") for path in (engine, *(trainers / f"{room}.py" for room in rooms))]
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
        matched=trained.matched,
        loss=trained.loss,
        reinforced=trained.reinforced,
        held_out=trained.held_out,
        kept=trained.kept,
    )
