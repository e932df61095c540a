"""The bench: what stages work with. It knows how to have a model draw or be trained, and what that cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.engines import Request, SamplingJob
from agents.rules import Rules
from agents.uniform import Uniform
from agents.verdicts import Rubric
from loop.budget import BudgetSpent, Meter
from loop.contamination import Exams
from loop.crew import NO_LIMITS, Ask, Crew, Work
from loop.errors import StageError
from loop.extracts import Extracts
from loop.files import RowFile, read_rows
from loop.jobs import Diverged, DrawJob, Drawn, RanksJob
from loop.judging import Judge
from loop.memory import within_memory
from loop.objective import Demonstration
from loop.presets import Student
from loop.quality import Embedded, EmbedJob
from loop.records import Checkpoint, Problem, Sample, Spent, seed_for
from loop.room import Room, Stage
from loop.seats import Draw, Seat, cost_of
from loop.tasks import Tasks
from loop.trained import Trained
from loop.training_log import lost_tokens

EMBED = "loop.embedding:embed"
"""Needs torch, and so a child of its own, whatever the student is."""
TRAINERS = {
    "adopt": "student", "converge": "convergence", "distill": "chain", "dpo": "dpo", "grpo": "grpo",
    "reward": "reward", "sft": "sft",
}  # fmt: skip
"""What a trainer can do, and the module of loop/training/ that does it."""
BEFORE_THE_LOOP = ("adopt", "converge")
RANKS = "loop.training.ranks:train"
SHARED = ("sft",)
"""What several GPUs of a machine do together; the rest is done by one."""


@dataclass(frozen=True)
class Bench:
    """The tools of one run, shared by its stages."""

    run: Path
    seed: int
    student: Student
    tasks: Tasks
    exams: Exams
    """What no training row may hold."""
    judge: Judge
    demonstrations: tuple[Demonstration, ...]
    """Those that are trained on; the others are held out to choose the checkpoint of round 0."""
    held_out: tuple[Demonstration, ...]
    answer: str
    """Where the answer of a demonstration stands."""
    meter: Meter
    crew: Crew
    rules: Rules | Uniform
    """Who plans where no model does, and names the failure modes of a probe."""
    planner: Seat | None = None
    """The orchestrator that is a model."""
    samplers: dict[str, Seat | None] = field(default_factory=lambda: {"student": None})
    """Who may draw samples, by name, the first of the cast first; None is the student as it is."""
    teachers: dict[str, Seat | None] = field(default_factory=dict)
    """Among whom problems are arbitrated, by name."""
    writers: tuple[Seat, ...] = ()
    """Who may write new problems and texts."""
    parts: Mapping[str, Seat | None] = field(default_factory=dict)
    """Who plays weak, strong and judge; None is the student as it is, or for judge the verifiers (`parts_of`)."""
    guidance: tuple[str, ...] = ()
    """What `loop evolve` found that a challenger should be told."""
    critics: tuple[Seat, ...] = ()
    """Models that judge what the verifiers let through."""
    learns_to_judge: bool = False
    """Whether each round trains a reward model, a critic of the next."""
    rubric: Rubric | None = None
    """What critics judge by; None where there are none."""
    bar: float = 0.8
    """Agreement with gold below which a critic is not believed."""
    extracts: Extracts | None = None
    """Parts of the documents, where the objective names any."""
    embeddings: str = ""
    """The sentence-transformers model whose embeddings tell their quality; "" takes the student's hidden states."""

    def seed_for(self, *parts: object) -> int:
        """A seed that depends on the run's seed and every part."""
        return seed_for(self.seed, *parts)

    def student_of(self, checkpoint: Checkpoint) -> Seat:
        """The student as it is in a checkpoint."""
        return Seat(
            name="student", engine=self.student.engine, model=str(self.run / checkpoint.path),
            parameters=checkpoint.parameters, max_new_tokens=self.student.max_new_tokens,
        )  # fmt: skip

    def sampler(self, name: str, best: Checkpoint) -> Seat:
        """A sampler or teacher of the cast by its name; "" is the first sampler."""
        return (self.samplers | self.teachers)[name or next(iter(self.samplers))] or self.student_of(best)

    def writer(self, name: str) -> Seat:
        """Who writes new problems and texts, by name; "" is the first of them."""
        return next(seat for seat in self.writers if name in ("", seat.name))

    def draw(
        self,
        room: Room,
        stage: Stage[list[Sample]],
        draws: Sequence[Draw],
        limited: bool = False,
        given: Sequence[Sample] = (),
    ) -> list[Sample]:
        """One sample for each key, those of an earlier launch kept, in the stage's growing file.

        Args: limited: whether the budget may end it early; what was held back from the start it does not end.
        given: samples that nobody has to draw, which come first.

        Raises: BudgetSpent when a limit ends it early; what was drawn stays and counts.
        """
        rows = room.rows(stage)
        done = {sample.id for sample in read_rows(rows.path, Sample)} if given else set()
        rows.append([sample for sample in given if sample.id not in done])
        rows.close()
        owed = {key: what.sampler for what in draws for key in what.problems}
        engine_seconds, peak_bytes = 0.0, 0
        for what in draws:
            drawn = self._draw_owed(room, stage, what, owed, rows, limited)
            engine_seconds += drawn.result.engine_seconds
            peak_bytes = max(peak_bytes, drawn.peak_bytes)
            room.spend(stage, cost_of(read_rows(rows.path, Sample), owed), engine_seconds, peak_bytes)
            if drawn.result.stopped:
                raise BudgetSpent(drawn.result.stopped)
        samples = read_rows(rows.path, Sample)
        wanted = owed.keys() | {sample.id for sample in given}
        if len(samples) != len(wanted) or {sample.id for sample in samples} != wanted:
            raise StageError(f"{rows.path}: {len(samples)} rows for {len(wanted)} requests")
        return samples

    def _draw_owed(
        self,
        room: Room,
        stage: Stage[list[Sample]],
        what: Draw,
        owed: Mapping[str, Seat],
        rows: RowFile,
        limited: bool,
    ) -> Work:
        """What one model still has to draw."""
        done = read_rows(rows.path, Sample)
        keys = {sample.id for sample in done} & what.problems.keys()
        if len(keys) == len(what.problems):
            return Work(Drawn(0.0, what.sampler.parameters), 0)
        limits = self.meter.limits((room.name, stage.name)) if limited else NO_LIMITS
        # A torn row was within the limit when it was drawn: it is owed even where the others have reached it.
        limits = limits.less(cost_of(done, owed), at_least=int(rows.torn))
        sampler = what.sampler
        job = SamplingJob(
            model=sampler.model,
            requests=tuple(Request(k, what.prompts.get(k, problem.prompt)) for k, problem in what.problems.items()),
            temperature=what.temperature,
            max_new_tokens=sampler.max_new_tokens,
            seed=self.seed_for(room.name, stage.name),
            done=frozenset(keys),
            endpoint=sampler.endpoint,
            api_key_env=sampler.api_key_env,
            prices=sampler.prices,
            usd=limits.usd,
        )
        order = DrawJob(
            engine=sampler.engine,
            job=job,
            rows=str(room.folder / stage.file),
            problems=what.problems,
            strategy=what.strategy,
            place=what.place,
            hinted=what.hinted,
            sampler=sampler.name,
            template=what.template,
            limits=limits,
        )
        return self.do("loop.drawing:draw", order, room, stage)

    def train(self, room: Room, stage: Stage[Any], work: str, job: object, answer: Ask | None = None) -> Trained:
        """Have a trainer do `work` (see `TRAINERS`), answer what it asks, and count what it cost."""
        trainer = f"loop.training.{TRAINERS[work]}:{work}"

        def do(job: Any) -> Work:
            if self.student.engine == "scripted":
                return self.do(f"loop.scripted:{work}", job, room, stage, answer)
            job = RanksJob(trainer, job, shared=job if work in SHARED else None)
            return self.do(RANKS, job, room, stage, answer)

        try:
            done = within_memory(do, job, lambda words: room.tell("training", f"{room.name}: {words}"))
        except Diverged as error:
            if error.trained is not None:
                self.count_training(room, stage, error.trained, lost_tokens(self.training_log(room, stage)))
            raise
        trained: Trained = done.result
        self.count_training(room, stage, trained, lost_tokens(self.training_log(room, stage)), done.peak_bytes)
        if trained.note:
            room.tell("training", f"{room.name}: {trained.note}")
        if trained.stopped and work not in BEFORE_THE_LOOP:
            raise BudgetSpent(trained.stopped)
        return trained

    def count_training(
        self,
        room: Room,
        stage: Stage[Any],
        trained: Trained,
        lost: tuple[int, int] = (0, 0),
        peak_bytes: int = 0,
    ) -> None:
        """Write down what training cost; `lost` tokens, trained on and sampled, went into launches that died."""
        tokens = trained.tokens + lost[0]
        sampled = trained.sampled_tokens + lost[1]
        flops = trained.parameters * (6.0 * tokens + 2.0 * sampled) + trained.read_flops
        spent = Spent(tokens_trained=tokens, tokens_sampled=sampled, flops=flops)
        room.spend(stage, spent, trained.engine_seconds if peak_bytes else 0.0, peak_bytes)

    def embed(self, room: Room, stage: Stage[Any], job: EmbedJob) -> Embedded:
        """Have a frozen model's features of texts written to a file, and count what that cost."""
        scripted = self.student.engine == "scripted" and job.kind == "hidden"
        done = self.do("loop.scripted:embed" if scripted else EMBED, job, room, stage)
        read: Embedded = done.result
        spent = Spent(tokens_sampled=read.tokens, flops=2.0 * read.parameters * read.tokens)
        room.spend(stage, spent, read.engine_seconds, done.peak_bytes)
        return read

    def training_log(self, room: Room, stage: Stage[Any]) -> Path:
        """Where the trainer writes how it goes, step by step."""
        return self.run / "logs" / f"{room.log_name(stage)}.jsonl"

    def do(self, work: str, job: object, room: Room, stage: Stage[Any], answer: Ask | None = None) -> Work:
        """Have a child do the work for a stage; what it cost is the caller's to count."""
        if self.student.engine == "scripted" and work != EMBED:
            return self.crew.run_here(work, job, room.screen.progress, answer)
        return self.crew.run(work, job, room.screen.progress, room.log_name(stage), answer)


def keyed(problems: Sequence[Problem]) -> dict[str, Problem]:
    """Problems by their own ids: for exams and probes, where each is answered once."""
    return {problem.id: problem for problem in problems}
