"""A run: its folder, made or found again, and everything that is opened for it."""

from __future__ import annotations

import fcntl
import os
import platform
import random
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agents.rules import Rules
from agents.uniform import Uniform
from agents.verdicts import Rubric
from loop.bench import Bench
from loop.budget import Meter
from loop.contamination import exams_of
from loop.crew import Crew
from loop.documents import read_documents
from loop.errors import DamagedRunError, MissingError, ObjectiveError
from loop.extracts import Extracts
from loop.files import as_json, file_digest, write_atomic
from loop.guidance import guidance_of
from loop.judging import Judge
from loop.ledger import Ledger
from loop.needs import resolve_engine, student_player
from loop.objective import Demonstration, Objective, read_demonstrations
from loop.presets import FULL, LORA, Student, read_preset
from loop.records import digest, seed_for
from loop.room import Room, Screen, verify_files
from loop.rubric import default_rubric, read_rubric
from loop.seating import parts_of, seat_of, seats_of
from loop.tasks import Tasks
from loop.weak_to_strong import weaker
from loop.weights import find_student

HELD_OUT = 0.15
"""Share of the demonstrations by which the checkpoint of round 0 is chosen."""
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "reasoning-gym")


@dataclass(frozen=True)
class Run:
    """One run, open for work: only one process at a time holds it."""

    folder: Path
    objective: Objective
    ledger: Ledger
    screen: Screen
    bench: Bench

    def room(self, name: str) -> Room:
        """A room of the run by its name: "003", "control/003", "test/best"."""
        return Room(self.folder, name, self.ledger, self.screen, self.bench.crew.tick)


def run_folder(objective: Objective, folder: Path | None) -> Path:
    """Where the objective's run lives: as told, or runs/<name>-<digest>, so that the same objective goes on."""
    return folder or Path("runs") / f"{_name(objective)}-{objective_digest(objective)[:8]}"


def objective_digest(objective: Objective) -> str:
    """The digest over the objective, but for budget and goal, and over the files that it names."""
    return digest(objective.digest_fields(), objective.text, _file_digests(objective))


def open_run(objective: Objective, folder: Path, screen: Screen) -> Run:
    """Make the run's folder, or go on in it.

    Raises: ObjectiveError when the folder belongs to another objective, MissingError when another process works in
    it, DamagedRunError when it is no run.
    """
    demonstrations = read_demonstrations(objective)
    tasks = Tasks(objective, [d.prompt for d in demonstrations])
    student = describe_student(objective, demonstrations)
    hold_folder(folder)
    ledger = Ledger.create_or_open(folder / "run.db")
    _sign(objective, student, folder, ledger)
    verify_files(folder, ledger)
    sizes = len(tasks.test) / max(1, len(tasks.dev))
    samplers, teachers = (
        seats_of(players or (), objective) for players in (objective.cast.sampler, objective.cast.teachers)
    )
    smaller = weaker((*samplers.values(), *teachers.values()), find_student(objective).parameters or 0)
    meter = Meter(objective.budget, ledger, objective.control, sizes, len(smaller), tasks.samples)
    ledger.begin_launch()
    beats = [0.0]

    def tick() -> None:
        if meter.here - beats[0] >= 2.0:
            beats[0] = meter.here
            ledger.heartbeat(meter.here)

    cast = objective.cast
    exams = exams_of([*tasks.dev, *tasks.test])
    clean = [d for d in demonstrations if not exams.match(d.prompt, d.response)]
    if len(clean) < len(demonstrations):
        screen.note(f"{len(demonstrations) - len(clean)} demonstrations hold a problem of an exam: left out")
    train, held_out = _split(clean, objective.seed)
    bench = Bench(
        run=folder,
        seed=objective.seed,
        student=student,
        tasks=tasks,
        exams=exams,
        judge=Judge(tasks, demonstrations),
        demonstrations=train,
        held_out=held_out,
        answer=objective.tasks.practice[0].answer,
        meter=meter,
        crew=Crew(folder / "logs", tick),
        rules=Uniform() if cast.orchestrator[0].model == "uniform" else Rules(),
        planner=None if cast.orchestrator[0].is_word else seat_of(cast.orchestrator[0], objective),
        samplers=samplers,
        teachers=teachers,
        writers=tuple(seat_of(player, objective) for player in cast.challenger or ()),
        parts=parts_of(objective),
        guidance=guidance_of(objective),
        critics=tuple(seat_of(player, objective) for player in cast.critics),
        rubric=_rubric(objective) if cast.critics else None,
        learns_to_judge=any(player.model == "reward" for player in cast.critic),
        bar=objective.critic.bar,
        embeddings=objective.model_name(objective.critic.embeddings) if objective.critic.embeddings else "",
        extracts=Extracts(read_documents(objective), exams) if objective.documents else None,
    )
    for note in tasks.notes:
        screen.note(note)
    return Run(folder, objective, ledger, screen, bench)


def describe_student(objective: Objective, demonstrations: list[Demonstration]) -> Student:
    """The student by its name in the objective."""
    family, _, rest = objective.student.partition("/")
    longest = max((len(d.response.encode()) for d in demonstrations), default=1024)
    preset = read_preset(rest) if family == "scratch" else None
    name = objective.student
    if (objective.folder / name).is_dir():
        name = str((objective.folder / name).resolve())
    return Student(
        name=name,
        engine=resolve_engine(student_player(objective), objective),
        weights=objective.weights,
        settings=preset.training if preset else LORA if objective.weights == "lora" else FULL,
        architecture=preset.architecture if preset else None,
        max_new_tokens=tokens_of_an_answer(longest),
    )


def tokens_of_an_answer(longest: int) -> int:
    """How many tokens an answer may have where the longest that was demonstrated has so many bytes.

    A scratch student writes bytes; other tokenizers need fewer tokens for the same text.
    """
    return min(2048, int(1.5 * longest) + 16)


def _rubric(objective: Objective) -> Rubric:
    name = objective.critic.rubric
    return read_rubric(objective.folder / name) if name else default_rubric()


def _split(
    demonstrations: list[Demonstration], seed: int
) -> tuple[tuple[Demonstration, ...], tuple[Demonstration, ...]]:
    order = sorted(demonstrations, key=lambda row: digest(row.prompt, row.response))
    random.Random(seed_for(seed, "held out")).shuffle(order)
    held_out = min(len(order) // 2, max(10, round(HELD_OUT * len(order)))) if order else 0
    return tuple(order[held_out:]), tuple(order[:held_out])


def _name(objective: Objective) -> str:
    """A short name for the run: the objective's first heading, or its folder's name."""
    heading = re.search(r"^#+\s+(.+)$", objective.text, re.MULTILINE)
    words = re.findall(r"[a-z0-9]+", (heading.group(1) if heading else "").lower())
    name = "-".join(words)[:40].strip("-")
    return name if name and name != "objective" else objective.folder.name or "run"


def _file_digests(objective: Objective) -> dict[str, str]:
    tasks = objective.tasks
    sources = [*tasks.practice, *tasks.dev.sources, *tasks.test.sources]
    names = [s.source for s in sources if s.is_file]
    names += [n for n in (objective.demonstrations, objective.critic.rubric, objective.strategies.harness) if n]
    names += objective.document_files()
    return {name: file_digest(objective.folder / name) for name in sorted(set(names))}


def hold_folder(folder: Path) -> None:
    """Hold the folder for this process; the lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise MissingError(f"{folder}: cannot be written ({error.strerror}); name another with --run") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise MissingError(f"{folder}: another process works on this run; wait for it, or stop it") from error


def _sign(objective: Objective, student: Student, folder: Path, ledger: Ledger) -> None:
    """Write down what the run is of, or check that it is still the same."""
    now: dict[str, Any] = {
        "objective": digest(objective.digest_fields(), objective.text),
        "files": _file_digests(objective),
    }
    known = ledger.fact("signature")
    if known is None:
        write_atomic(folder / "OBJECTIVE.md", objective.path.read_text(encoding="utf-8-sig"))
        write_atomic(folder / "settings.json", as_json(_settings(objective, student)))
        ledger.set_facts(signature=now, name=_name(objective), goal=objective.goal)
    elif known != now:
        changed = [n for n in {*known["files"], *now["files"]} if known["files"].get(n) != now["files"].get(n)]
        if known["objective"] != now["objective"]:
            changed.insert(0, objective.path.name)
        raise ObjectiveError(
            f"{folder}: this run is of another objective ({', '.join(changed)} changed); put that back, or start a"
            " new run without --run"
        )
    elif not (folder / "OBJECTIVE.md").is_file():
        raise DamagedRunError(f"{folder}/OBJECTIVE.md: missing; restore it, or start a new run")


def _settings(objective: Objective, student: Student) -> dict[str, Any]:
    """What this run was started with, for people and for resuming elsewhere."""
    return {
        "objective": objective.digest_fields(),
        "folders": _folders(objective),
        "max_new_tokens": student.max_new_tokens,
        "digest": objective_digest(objective),
        "python": platform.python_version(),
        "engines": {f"{part} {p.model}": resolve_engine(p, objective) for part, _, p in objective.cast.models()},
        "versions": {package: version(package) for package in PACKAGES},
    }


def _folders(objective: Objective) -> dict[str, str]:
    """Where the models are that the objective names as folders, by name."""
    cast = (player.model for _, _, player in objective.cast.models())
    names = {objective.student, *cast, objective.critic.embeddings or ""} - {""}
    return {name: objective.model_name(name) for name in sorted(names) if (objective.folder / name).is_dir()}
