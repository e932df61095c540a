"""A room: one round's folder with its cards. `once` does a stage's work, or finds it done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from pydantic import BaseModel

from agents.replies import Diagnosis, Plan
from agents.selfinstruct.rows import Round as Asked
from loop.budget import BudgetSpent
from loop.calibration import Calibration, Judgement
from loop.drilled import Drill
from loop.errors import DamagedRunError, LoopError
from loop.evolution import Proposal
from loop.failpoints import failpoint
from loop.files import (
    RowFile,
    as_json,
    as_line,
    file_digest,
    publish_folder,
    read_rows,
    verify_manifest,
    write_atomic,
)
from loop.jobs import STEPS
from loop.ledger import Card, Ledger
from loop.lm_eval_score import HarnessScore
from loop.preference import Pair, Reward
from loop.prepared import Annotated, Prepared, Scorer
from loop.records import Admission, Checkpoint, Critique, Evaluation, Example, Sample, Spent
from loop.rounds import Round
from loop.written import Piece, Sought

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Screen(Protocol):
    """Whoever shows a person what goes on."""

    def stage(self, room: str, stage: str) -> None:
        """A stage begins."""

    def progress(self, done: float, total: float, rate: str) -> None:
        """The stage has come this far; `rate` is for people."""

    def note(self, text: str) -> None:
        """One line worth keeping on the screen."""


@dataclass(frozen=True)
class Stage(Generic[T]):
    """One stage: its name, the file of its record, and how that file is written and read."""

    name: str
    file: str
    save: Callable[[Path, T], None]
    load: Callable[[Path], T]


def _record(name: str, file: str, kind: type[M]) -> Stage[M]:
    return Stage(
        name,
        file,
        save=lambda path, record: write_atomic(path, as_json(record)),
        load=lambda path: kind.model_validate_json(path.read_bytes()),
    )


def _rows(name: str, file: str, kind: type[M]) -> Stage[list[M]]:
    return Stage(
        name,
        file,
        save=lambda path, rows: write_atomic(path, "".join(as_line(row) + "\n" for row in rows)),
        load=lambda path: read_rows(path, kind),
    )


def _appended(name: str, file: str, kind: type[M]) -> Stage[list[M]]:
    """Rows that the work itself appends as they finish: saving leaves them as they are."""

    def save(path: Path, rows: list[M]) -> None:
        if not path.exists() and not rows:
            write_atomic(path, "")

    return Stage(name, file, save=save, load=lambda path: read_rows(path, kind))


PLAN = _record("plan", "plan.json", Plan)
ANNOTATIONS = _rows("annotate", "annotations.jsonl", Annotated)
SCORERS = _rows("score", "scorers.jsonl", Scorer)
PREPARED = _rows("prepare", "prepared.jsonl", Prepared)
SOUGHT = _rows("seek", "questions.jsonl", Sought)
WRITTEN = _rows("write", "written.jsonl", Piece)
SAMPLES = _appended("sample", "samples.jsonl", Sample)
CALIBRATIONS = _rows("calibrate", "calibrations.jsonl", Calibration)
CRITIQUES = _rows("critique", "critiques.jsonl", Critique)
JUDGEMENT = _record("judge by reward", "judgement.json", Judgement)
REWARD = _record("learn to judge", "reward.json", Reward)
ADMISSIONS = _rows("curate", "admissions.jsonl", Admission)
DATASET = _rows("mix", "dataset.jsonl", Example)
PAIRS = _rows("pair", "pairs.jsonl", Pair)
DRILLS = _rows("drill", "drills.jsonl", Drill)
CHECKPOINT = Stage[Checkpoint]("train", "checkpoint", save=lambda *_: None, load=lambda _: None)  # type: ignore[arg-type, return-value]
ATTEMPTS = _appended("sit the exam", "attempts.jsonl", Sample)
SAMPLED = _appended("sit the exam sampled", "attempts_sampled.jsonl", Sample)
AGAIN = _appended("sit again", "again.jsonl", Sample)
EVALUATION = _record("evaluate", "evaluation.json", Evaluation)
PROBE = _appended("probe", "probe.jsonl", Sample)
DIAGNOSIS = _record("diagnose", "diagnosis.json", Diagnosis)
ROUND = _record("ledger", "round.json", Round)
PROPOSAL = _record("propose", "proposal.json", Proposal)
HARNESS = _record("harness", "harness.json", HarnessScore)
SCORED = _rows("score", "asked.jsonl", Asked)
"""Every question that a harness led to, in the order of its documents."""


def room_folder(run: Path, name: str) -> Path:
    """Where a room's files are."""
    return run / ("rounds" if name[:1].isdigit() else ".") / name


def verify_files(run: Path, ledger: Ledger) -> None:
    """Check every file that a card vouches for, but the checkpoints: large, and checked when they are loaded.

    Raises: DamagedRunError, naming the first file that is not what its card says.
    """
    for (room, stage), card in ledger.cards().items():
        if stage != CHECKPOINT.name:
            _verify(room_folder(run, room) / card.file, card)


def _verify(path: Path, card: Card) -> None:
    if not path.is_file() or file_digest(path) != card.digest:
        raise DamagedRunError(f"{path}: missing or changed since it was written; restore it, or start a new run")


class Room:
    """One folder of a run: a round ("003"), a stretch of the control ("control/003") or the test."""

    def __init__(
        self, run: Path, name: str, ledger: Ledger, screen: Screen, tick: Callable[[], None] = lambda: None
    ) -> None:
        """`tick` is called when a stage has worked: the launch is still alive."""
        self.run, self.name, self.ledger, self.screen, self._tick = run, name, ledger, screen, tick
        self.folder = room_folder(run, name)
        self._parts: dict[tuple[str, str], tuple[Spent, float, int]] = {}

    def once(self, stage: Stage[T], work: Callable[[], T]) -> T:
        """The stage's record: loaded when its card is there, else worked out, written and carded.

        The file first, then its card: a crash in between costs the stage, never the truth.

        Raises: DamagedRunError when the file is not what the card vouches for.
        """
        path = self.folder / stage.file
        card = self.ledger.card(self.name, stage.name)
        if card is not None:
            return self._load(stage, path, card)
        self.screen.stage(self.name, stage.name)
        began = time.monotonic()
        try:
            value = work()
        except (BudgetSpent, LoopError, KeyboardInterrupt):
            self.ledger.add_seconds(self.name, stage.name, time.monotonic() - began)
            raise
        self._tick()
        failpoint(f"{stage.name} worked out")
        stage.save(path, value)
        failpoint(f"{stage.name} saved")
        self.ledger.add_seconds(self.name, stage.name, time.monotonic() - began)
        self.ledger.put_card(
            self.name, stage.name, self._card(path, value), closes=value if isinstance(value, Round) else None
        )
        return value

    def rows(self, stage: Stage[list[M]]) -> RowFile:
        """The growing file of a stage whose work appends its rows."""
        return RowFile(self.folder / stage.file)

    def has(self, stage: Stage[Any]) -> bool:
        """Whether the stage is finished."""
        return self.ledger.card(self.name, stage.name) is not None

    def fetch(self, stage: Stage[T]) -> T:
        """The record of a stage that is known to be finished."""
        return self._load(stage, self.folder / stage.file, self.card(stage))

    def card(self, stage: Stage[Any]) -> Card:
        """The card of a stage that is known to be finished."""
        card = self.ledger.card(self.name, stage.name)
        if card is None:
            raise DamagedRunError(f"{self.folder}: no finished {stage.name}; go on with `loop run` first")
        return card

    def spend(
        self, stage: Stage[Any], spent: Spent, engine_seconds: float = 0.0, peak_bytes: int = 0, by: str = ""
    ) -> None:
        """Set what a stage has cost so far, or one of several of its parts; its seconds are added by `once`."""
        self._parts[stage.name, by] = (spent, engine_seconds, peak_bytes)
        parts = [part for (name, _), part in self._parts.items() if name == stage.name]
        total = sum((part[0] for part in parts), Spent())
        self.ledger.spend(self.name, stage.name, total, sum(p[1] for p in parts), max(p[2] for p in parts))

    def tell(self, kind: str, words: str) -> None:
        """Say what a person should know, and keep it in the ledger."""
        self.ledger.event(kind, words)
        self.screen.note(words)

    def log_name(self, stage: Stage[Any]) -> str:
        """How the logs of a stage are called, in the run's folder of logs."""
        return f"{self.name.replace('/', '-')}-{stage.name.replace(' ', '-')}"

    def new_checkpoint(self) -> Path:
        """An empty folder for a student to be written into; it counts only once published."""
        folder = self.folder / ".checkpoint.tmp"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def publish_checkpoint(self, temporary: Path, name: str = CHECKPOINT.file) -> tuple[str, str]:
        """Give a finished checkpoint its name; its path in the run, and the digest of its manifest."""
        final = self.folder / name
        manifest = publish_folder(temporary, final)
        shutil.rmtree(temporary.with_name(temporary.name + STEPS), ignore_errors=True)
        return str(final.relative_to(self.run)), manifest

    def _card(self, path: Path, value: object) -> Card:
        if isinstance(value, Checkpoint):
            return Card(file=path.name, digest=value.manifest, rows=1, detail=value.model_dump(mode="json"))
        count = len(value) if isinstance(value, Sequence) else 1
        return Card(file=path.name, digest=file_digest(path), rows=count)

    def _load(self, stage: Stage[T], path: Path, card: Card) -> T:
        if path.name == CHECKPOINT.file:
            checkpoint = Checkpoint.model_validate(card.detail)
            verify_manifest(self.run / checkpoint.path, checkpoint.manifest)
            return cast(T, checkpoint)
        _verify(path, card)
        return stage.load(path)
