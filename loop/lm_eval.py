"""A student of a run through lm-evaluation-harness: beside the loop, whenever a person asks for it.

What it cost stands in the ledger, in rooms of its own; the budget of the rounds is not touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.engines import EngineError
from agents.engines.completions import StudentServer
from agents.engines.lm_eval import OFFLINE, LmEvalError, LmEvalJob, LmEvalScores, missing_lm_eval, run_lm_eval
from loop.budget import BESIDE
from loop.errors import DamagedRunError, MissingError, ObjectiveError, StageError
from loop.files import file_digest, write_atomic
from loop.ledger import Ledger
from loop.lm_eval_score import EXAMS, HarnessScore, Measure, compare
from loop.lm_eval_tasks import write_tasks
from loop.records import Checkpoint, Evaluation, Problem, Sample, Spent, digest
from loop.room import ATTEMPTS, CHECKPOINT, EVALUATION, HARNESS, Room
from loop.run import hold_folder
from loop.sources import Source

ROWS = "rows.jsonl"


class _Quiet:
    """A screen that shows nothing: what is printed is the scores alone."""

    def stage(self, room: str, stage: str) -> None: ...

    def progress(self, done: float, total: float, rate: str) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class Wish:
    """What a person asks for."""

    task: str
    """"dev" or "test", the run's own exams; else a task, group or tag of lm-eval."""
    round: int | None = None
    """Whose student; None is the best."""
    include: tuple[Path, ...] = ()
    data_files: Mapping[str, Path] = field(default_factory=dict)
    """By split, in place of the task's data set."""
    shots: int | None = None
    limit: int | None = None
    downloads: bool = False

    @property
    def key(self) -> str:
        """A digest over all that could change the score, the contents of files too."""
        listed = [path for folder in self.include for path in sorted(folder.rglob("*")) if path.is_file()]
        data_files = {split: file_digest(path) for split, path in sorted(self.data_files.items())}
        return digest("lm-eval", self.task, [file_digest(p) for p in listed], data_files, self.shots, self.limit)


def evaluate_by_lm_eval(run: Path, wishes: Sequence[Wish], say: Callable[[str], None]) -> list[HarnessScore]:
    """Serve the student and have lm-eval ask it, wish by wish; what was done already is read from the run.

    Raises: ObjectiveError for a task or file that there is not, MissingError without lm-eval, a student or the data
    set of the task, DamagedRunError, StageError.
    """
    Ledger.read(run / "run.db").close()
    for wish in wishes:
        _check(wish)
    hold_folder(run)
    ledger = Ledger.create_or_open(run / "run.db")
    try:
        return [_evaluate_once(run, wish, ledger, say) for wish in wishes]
    finally:
        ledger.close()


def _evaluate_once(run: Path, wish: Wish, ledger: Ledger, say: Callable[[str], None]) -> HarnessScore:
    number = _number(ledger, wish)
    student = Room(run, f"{number:03}", ledger, _Quiet()).fetch(CHECKPOINT)
    name = re.sub(r"[^\w.-]+", "-", wish.task)
    room = Room(run, f"{BESIDE}{number:03}-{name}-{wish.key[:8]}", ledger, _Quiet())
    if not room.has(HARNESS) and (wrong := missing_lm_eval()):
        raise MissingError(wrong)
    return room.once(HARNESS, lambda: _evaluate(wish, number, student, room, say))


def _check(wish: Wish) -> None:
    for folder in wish.include:
        if not folder.is_dir():
            raise ObjectiveError(f"--include {folder}: is no folder; name one with task files")
    for split, path in wish.data_files.items():
        if not path.is_file():
            raise ObjectiveError(f"--data {split}={path}: is no file; name one of JSON lines")
    if wish.task in EXAMS and (wish.include or wish.data_files or wish.shots):
        raise ObjectiveError(f"{wish.task}: is the run's own exam; leave out --include, --data and --shots")


def _number(ledger: Ledger, wish: Wish) -> int:
    """Of the round whose student is meant.

    Raises: MissingError when it has none.
    """
    rounds = [r for r in ledger.rounds() if r.checkpoint is not None]
    kept = [r.round for r in rounds if r.status in ("kept", "start")]
    number = wish.round if wish.round is not None else (kept or [-1])[-1]
    if number not in [r.round for r in rounds]:
        which = "no student yet" if wish.round is None else f"round {number}: no student"
        raise MissingError(f"{ledger.path.parent}: {which}; go on with `loop run`, or name another round")
    return number


def _evaluate(wish: Wish, number: int, student: Checkpoint, room: Room, say: Callable[[str], None]) -> HarnessScore:
    folder = room.run / student.path
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise MissingError(f"{folder}: no model that could be served; a scripted student is only for tests")
    room.folder.mkdir(parents=True, exist_ok=True)
    exam, sat = _exam(wish, number, room) if wish.task in EXAMS else ([], None)
    tasks = (wish.task,) if sat is None else _write_exam(wish.task, exam, room)
    include = (room.folder,) if sat else wish.include
    say(f"serving the student of round {number} for lm-eval: loading takes a while")
    found = _ask(wish, tasks, include, str(folder.resolve()), room)
    write_atomic(room.folder / ROWS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows))
    score = HarnessScore(
        task=wish.task, round=number, checkpoint=student.manifest, version=found.version, shots=wish.shots,
        limit=wish.limit, measures=tuple(Measure(**measure) for measure in found.measures),
    )  # fmt: skip
    return score if sat is None else compare(score, found.rows, sat.solved)


def _ask(wish: Wish, tasks: tuple[str, ...], include: tuple[Path, ...], model: str, room: Room) -> LmEvalScores:
    before = next((row for row in room.ledger.spendings() if row[:2] == (room.name, HARNESS.name)), None)
    server = StudentServer(model, {} if wish.downloads else OFFLINE)

    def spend() -> None:
        """Count what the server has done so far, on top of earlier launches that died."""
        usage = server.usage
        tokens = usage.prompt_tokens + usage.completion_tokens
        spent = Spent(tokens_sampled=tokens, flops=2.0 * usage.parameters * tokens)
        seconds = usage.seconds + (before[3] if before else 0.0)
        room.spend(HARNESS, spent + (before[2] if before else Spent()), seconds, usage.peak_bytes)

    def tick() -> None:
        if server.look():
            spend()

    try:
        with server:
            job = LmEvalJob(
                address=server.address,
                model="student",
                tasks=tasks,
                include=tuple(str(folder.resolve()) for folder in include),
                defaults=wish.task not in EXAMS,
                data_files={split: str(path.resolve()) for split, path in wish.data_files.items()},
                shots=wish.shots,
                limit=wish.limit,
                positions=server.usage.positions,
            )
            return run_lm_eval(job, room.folder, wish.downloads, tick)
    except LmEvalError as error:
        if error.at == "name":
            raise ObjectiveError(str(error)) from error
        if error.at == "task" and not wish.downloads:
            raise MissingError(
                f"{error}; if it wants a data set, name local files with --data SPLIT=FILE, or let it fetch with"
                " --download"
            ) from error
        raise StageError(f"lm-eval: {str(error).removeprefix('lm-eval: ')}") from error
    except EngineError as error:
        raise StageError(str(error)) from error
    finally:
        spend()


def _exam(wish: Wish, number: int, room: Room) -> tuple[list[Sample], Evaluation]:
    """What the student answered there, and how we scored it.

    Raises: MissingError when it did not sit that exam: the test is opened by the loop alone.
    """
    name = f"{number:03}"
    if wish.task == "test":
        sat = [r for r, stage in room.ledger.cards() if stage == EVALUATION.name and r.startswith("test/")]
        wanted = [r for r in sat if r == f"test/{name}-best" or (number == 0 and r.endswith("-start"))]
        if room.ledger.fact("status") != "finished" or not wanted:
            raise MissingError(
                f"{room.run}: the test is sealed for round {number}; it is there for the best round and round 0 of a"
                " finished run"
            )
        name = wanted[-1]
    exam = Room(room.run, name, room.ledger, room.screen)
    return exam.fetch(ATTEMPTS), exam.fetch(EVALUATION)


def _write_exam(task: str, sat: list[Sample], room: Room) -> tuple[str, ...]:
    """The exam's task files. No answer of the student's was longer than the longest: more room changes none."""
    problems: list[Problem] = [sample.problem for sample in sat]
    longest = max(sample.completion_tokens for sample in sat)
    sources = dict(enumerate(_sources(room.run)))
    return tuple(write_tasks(task, problems, sources, longest, room.folder))


def _sources(run: Path) -> list[Source]:
    """In the order in which problems number them.

    Raises: DamagedRunError.
    """
    path = run / "settings.json"
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))["objective"]["tasks"]
        rows = [*tasks["practice"], *tasks["dev"]["sources"], *tasks["test"]["sources"]]
        known = [{key: row[key] for key in Source.model_fields if key in row} for row in rows]
        return [Source.model_validate_json(json.dumps(row)) for row in known]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedRunError(f"{path}: missing or no settings of a run; restore it") from error
