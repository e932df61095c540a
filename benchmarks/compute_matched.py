"""Smaller, Weaker, Yet Better (arXiv 2408.16737) in miniature: a small and a large sampler at equal FLOPs.

    python -m benchmarks.compute_matched [--seeds 0 1 2] [--problems 1000] [--cycles 12] [--folder FOLDER] [--quick]

Both samplers are scratch students, trained on the same demonstrations to convergence, or for fewer cycles: after four
the small one is the less accurate. For the same problems the large one draws a few samples each, the small one as
many more as it is smaller. Each student, at its round 0, is trained on what either sampler gave, mixed with the
demonstrations as a round of the loop would, and on the demonstrations alone (the control), each time for the same
number of tokens; all sit the same exam. What is done in FOLDER is not done again: the command can be stopped and goes
on.
"""

import argparse
import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from agents.replies import Mixture, Plan
from agents.strategies import Allotment, RejectionSampling
from agents.training import SFT
from benchmarks.compute_matched_table import CONTROL, Drawn, Found, Taught, show
from benchmarks.families import chains, write_rows
from examples.chain_sum.make_demonstrations import demonstrations, work_out
from loop.close import false_positive_rates
from loop.compute_match import sample_costs, samples_each, set_up
from loop.coverage import sampling_quality
from loop.critique import criticise
from loop.curate import admit, mix
from loop.earlier import Earlier
from loop.evaluate import examine
from loop.objective import Demonstration, read_objective
from loop.paths import path_of
from loop.presets import StudentPreset, read_preset
from loop.records import Checkpoint, Evaluation, Example, digest, seed_for
from loop.repeats import Known
from loop.room import ADMISSIONS, CHECKPOINT, CRITIQUES, DATASET, SAMPLES
from loop.run import Run, open_run
from loop.sample import draw_samples
from loop.seats import Seat
from loop.train import make_student, train_control

TINY = read_preset("tiny")
PRESETS = {
    "small": TINY,
    "large": StudentPreset(
        architecture=TINY.architecture.model_copy(update={"hidden": 256, "heads": 8, "kv_heads": 2, "mlp": 704}),
        training=TINY.training.model_copy(update={"learning_rate": 5e-4}),
    ),
}
"""The smaller first, 0.35M and 2.9M: each a sampler and a student. The large one is wider than the other, no deeper:
a CPU trains it 1.7 times as fast as the preset `small`. Its rate: from 2,400 demonstrations, after 1,600 steps, it
had 0.77 of those held out right with 5e-4, 0.38 with 1e-3; the small one 0.34 with its own."""
LEVELS = (3, 6)
"""Lengths of the chains."""
ORDERS: tuple[Callable[[Sequence[int]], list[int]], ...] = (
    list,
    lambda terms: [*filter(lambda term: term > 0, terms), *filter(lambda term: term < 0, terms)],
)
"""In which a chain may be worked: as it stands, or what is added first. So a problem has several right solutions, and
there is a diversity to measure. No demonstration has a zero and many problems do: not all are equally hard."""


@dataclass(frozen=True)
class Size:
    """How large the benchmark is; everything that its results depend on, but for the seed."""

    demonstrations: int = 300
    """Of each length."""
    problems: int = 1000
    samples: int = 3
    """Of a problem, by the large sampler: the small one then draws 25."""
    exam: int = 1200
    tokens: int = 400_000
    """That each student is trained for, in each arm."""
    cycle: int = 400
    """Steps of a cycle of round 0."""
    patience: int = 3
    max_cycles: int = 12
    temperature: float = 0.8


QUICK = Size(demonstrations=60, problems=60, exam=200, tokens=20_000, cycle=60, patience=1, max_cycles=2)
"""To see that everything runs; its numbers say nothing."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--problems", type=int, help=f"{Size.problems} if not given")
    options.add_argument("--cycles", type=int, help=f"that train a sampler, at most; {Size.max_cycles} if not given")
    options.add_argument("--folder", type=Path, default=Path("runs/benchmark-compute-matched"))
    options.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="seeds at work at the same time")
    options.add_argument("--quick", action="store_true", help="a smoke run of a minute or two")
    chosen = options.parse_args()
    size = QUICK if chosen.quick else Size()
    size = replace(size, problems=chosen.problems or size.problems, max_cycles=chosen.cycles or size.max_cycles)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // chosen.at_once)))
    with ThreadPoolExecutor(chosen.at_once) as pool:
        show(list(pool.map(lambda seed: play(seed, size, chosen.folder), chosen.seeds)), size.samples)


def play(seed: int, size: Size, folder: Path) -> Found:
    """Everything for one seed: samplers, samples, students."""
    folder = folder.absolute() / f"{digest(asdict(size), PRESETS)[:8]}-seed-{seed}"
    runs = {name: begin(name, seed, size, folder) for name in PRESETS}
    pace = {"cycle": size.cycle, "patience": size.patience, "max_cycles": size.max_cycles}
    starts = {name: round_zero(run, **pace) for name, run in runs.items()}
    seats = {name: run.bench.student_of(starts[name]).model_copy(update={"name": name}) for name, run in runs.items()}
    costs = sample_costs(seats, runs["small"].bench.demonstrations)
    counts = samples_each(size.samples * max(costs.values()), costs)
    drawn = {name: draw(run, counts[name], starts[name], size) for name, run in runs.items()}
    rows = {name: examples for name, (_, examples) in drawn.items()}
    taught = {name: teach(run, name, starts[name], rows, seats, size) for name, run in runs.items()}
    return Found(seed, {name: figures for name, (figures, _) in drawn.items()}, taught)


def begin(name: str, seed: int, size: Size, folder: Path) -> Run:
    """The run of one student, new or found again; both have the same demonstrations, problems and exam."""
    path = write_objective(folder / "objective", seed, size)
    run = open_run(read_objective(path), folder / name, Lines(f"seed {seed}, {name}"))
    run.bench.crew.warm()
    preset = PRESETS[name]
    shape = {"name": name, "architecture": preset.architecture, "settings": preset.training}
    return replace(run, bench=replace(run.bench, student=run.bench.student.model_copy(update=shape)))


def write_objective(folder: Path, seed: int, size: Size) -> Path:
    """Write OBJECTIVE.md and its demonstrations; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = dict.fromkeys(range(LEVELS[0], LEVELS[1] + 1), size.demonstrations)
    write_rows(folder / "demonstrations.jsonl", worked_in_any_order(lengths, seed))
    front = {
        "student": "scratch/tiny",
        "demonstrations": "demonstrations.jsonl",
        "tasks": {
            "practice": [chains("chain_sum", 1, LEVELS)],
            "dev": {"from": "practice", "size": size.exam},
            "test": {"from": "practice", "size": 100},
        },
        "budget": {"rounds": 1},
        "control": False,
        "seed": seed,
    }
    path = folder / "OBJECTIVE.md"
    path.write_text(f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n# Samplers {seed}\n", encoding="utf-8")
    return path


def worked_in_any_order(lengths: Mapping[int, int], seed: int) -> list[dict[str, object]]:
    """Demonstrations of chain sums, each in one of the orders, drawn by its prompt."""
    rows = demonstrations(lengths, seed)
    for row in rows:
        chain = str(row["prompt"]).partition(":")[2]
        terms = [int(term.replace(" ", "")) for term in re.findall(r"(?:[+-] )?\d+", chain)]
        order = random.Random(seed_for(seed, "order", row["prompt"])).choice(ORDERS)
        row["response"] = work_out(order(terms))
    return rows


def round_zero(run: Run, **pace: int) -> Checkpoint:
    """The converged student. Args: pace: as of `make_student`."""
    room = run.room("000")
    return room.once(CHECKPOINT, lambda: make_student(room, run.bench, **pace))


def exam(run: Run, name: str, student: Checkpoint) -> Evaluation:
    """How a student does, greedily, on the problems that are the same for all."""
    return examine("dev", student, run.room(name), run.bench)


def draw(run: Run, count: int, student: Checkpoint, size: Size) -> tuple[Drawn, list[Example]]:
    """What a sampler draws, how good that is, and the rows that are admitted: of each problem every path."""
    room, bench = run.room("001"), run.bench
    cells = list(bench.tasks.practice)
    share = size.problems // len(cells)
    allotments = tuple(Allotment(skill=c.skill, level=c.level, problems=share, samples=count) for c in cells)
    told = RejectionSampling(allotments=allotments, temperature=size.temperature, keep_per_problem=64)
    plan = Plan(hypothesis=f"{count} samples of each problem", strategies=(told,))
    samples = room.once(SAMPLES, lambda: draw_samples(plan, (), student, Earlier(), room, bench))
    critiques = room.once(CRITIQUES, lambda: criticise(samples, (), room, bench))
    admissions = room.once(ADMISSIONS, lambda: admit(1, plan, samples, critiques, Known(bench.exams), bench.seed))
    rows = [admission.example for admission in admissions if admission.example]
    ways: dict[str, list[str]] = {sample.problem.id: [] for sample in samples}
    for sample in (s for s, critique in zip(samples, critiques, strict=True) if critique.passed):
        ways[sample.problem.id].append(path_of(sample.response))
    drawn = Drawn(
        parameters=student.parameters,
        accuracy=exam(run, "000", student).score,
        converged=student.steps < size.cycle * size.max_cycles,
        trained_flops=6.0 * student.parameters * student.tokens,
        each=count,
        flops=bench.student_of(student).cost(samples).flops,
        quality=sampling_quality(zip(samples, critiques, strict=True))[0],
        right=tuple(map(len, ways.values())),
        ways=tuple(len(set(found)) for found in ways.values()),
        answer_only=false_positive_rates(critiques)[1],
        admitted=len(rows),
        problems=len({row.prompt for row in rows}),
    )
    return drawn, rows


def teach(
    run: Run,
    name: str,
    start: Checkpoint,
    rows: Mapping[str, Sequence[Example]],
    seats: Mapping[str, Seat],
    size: Size,
) -> Taught:
    """A student trained on each sampler's rows and on the demonstrations alone, for as many tokens each."""
    bench = run.bench
    mixes = {by: mix(bench.demonstrations, (), rows.get(by, ()), Mixture()) for by in (*PRESETS, CONTROL)}
    arms = {by: arm(run, f"taught-by-{by}", start, mixed, size) for by, mixed in mixes.items()}
    set_ups = {by: set_up(seats[name], [seats[by]]) for by in PRESETS}
    return Taught(exam(run, "000", start).score, arms, set_ups)


def arm(run: Run, name: str, start: Checkpoint, rows: Sequence[Example], size: Size) -> Evaluation:
    """Train on from `start` on these rows for the tokens that every arm has, as a control is trained, and examine."""
    room = run.room(name)
    dataset = room.once(DATASET, lambda: list(rows))
    told = tuple(Demonstration(prompt=r.prompt, response=r.response) for r in dataset for _ in range(r.copies))
    bench = replace(run.bench, demonstrations=told)
    student = room.once(CHECKPOINT, lambda: train_control(size.tokens, SFT(), start, room, bench))
    return exam(run, name, student)


class Lines:
    """A screen of plain lines, for several seeds at once."""

    def __init__(self, who: str) -> None:
        self._who, self._where, self._last = who, "start", time.monotonic()

    def stage(self, room: str, stage: str) -> None:
        self._where = f"{room}: {stage}"
        self.note("begins")

    def progress(self, done: float, total: float, rate: str) -> None:
        if time.monotonic() - self._last >= 30 or "held-out" in rate:
            self.note(f"{done:,.0f} of {total:,.0f}, {rate}")

    def note(self, text: str) -> None:
        self._last = time.monotonic()
        print(f"{time.strftime('%H:%M:%S')} {self._who}: {self._where}: {text}", flush=True)


if __name__ == "__main__":
    main()
