"""A small student improved by the loop against one of 86 times its size, taught by the demonstrations alone.

    python -m benchmarks.small_beats_big [--folder FOLDER] [--big] [--quick]

The objective is the default one. Four students sit the same sealed test:
- 30M parameters, trained on the demonstrations to convergence with each of three learning rates, in cycles of as many
  passes as the small one's; the rate that does best on dev counts. It takes an hour on two cores, so what it came
  to is kept in benchmarks/results/small_beats_big.json; `--big` trains it again, as does a change of the task.
- 0.35M (preset `tiny`), improved by the loop: `loop run`, to the end of its rounds.
- the same by the uniform plan, in as many rounds as it takes to spend as many tokens.
- the same on the demonstrations alone, for as many tokens as the loop trained: the loop's control.
What is done in FOLDER is not done again: the command can be stopped and goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.compute_matched import Lines, round_zero
from loop.errors import LoopError
from loop.evaluate import examine
from loop.files import write_atomic
from loop.objective import read_objective
from loop.presets import StudentPreset, read_preset
from loop.records import Evaluation, Score, Spent, digest
from loop.run import Run, open_run
from loop.statistics import paired_gain
from loop.status import Standing, read_standing

HERE = Path(__file__).parent
DEFAULT = HERE.parent / "OBJECTIVE.md"
KEPT = HERE / "results" / "small_beats_big.json"
COMMAND = "python -m benchmarks.small_beats_big --big"
TINY, BASE = read_preset("tiny"), read_preset("base")
WIDE = {"hidden": 768, "heads": 12, "kv_heads": 4, "head_size": 64, "mlp": 2560}
BIG = StudentPreset(architecture=TINY.architecture.model_copy(update=WIDE), training=BASE.training)
"""Wider than the small one, no deeper: a CPU trains it 1.7 times as fast as the preset `base`, which is as large."""
RATES = (1.5e-4, 3e-4, 6e-4)
"""The preset's own and lower ones: in trials, higher ones did no better."""


@dataclass(frozen=True)
class Size:
    """How large the benchmark is."""

    rounds: int = 8
    dev: int = 500
    test: int = 1000
    cycle: int = 300
    """Steps of a cycle of the big student's training, of 32 rows: as many passes as 600 steps of 16."""
    patience: int = 3
    max_cycles: int = 8
    """The small one took as many."""


QUICK = Size(rounds=1, dev=60, test=60, cycle=2, patience=1, max_cycles=1)
"""To see that everything runs; its numbers say nothing."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--folder", type=Path, default=Path("runs/benchmark-small-beats-big"))
    options.add_argument("--big", action="store_true", help="train the big student again, though its result is kept")
    options.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="trainings at the same time")
    options.add_argument("--quick", action="store_true", help="a smoke run of some minutes")
    chosen = options.parse_args()
    size = QUICK if chosen.quick else Size()
    folder = chosen.folder.absolute() / ("quick" if chosen.quick else "full")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // chosen.at_once)))
    with ThreadPoolExecutor(chosen.at_once) as pool:
        try:
            big = big_students(size, folder, chosen.big or chosen.quick, pool)
            small = pool.submit(small_students, size, folder)
            show(big(), small.result())
        except LoopError as error:
            sys.exit(f"small_beats_big: {error}")
        except KeyboardInterrupt:
            os._exit(130)  # the threads would train to the end; their children end with this process


def write_objective(folder: Path, size: Size, **changes: Any) -> Path:
    """The default objective, but for its budget, the size of its exams and `changes`; the path of OBJECTIVE.md."""
    _, front, prose = DEFAULT.read_text(encoding="utf-8").split("---\n", 2)
    keys = yaml.safe_load(front)
    keys["demonstrations"] = str(DEFAULT.parent / keys["demonstrations"])
    keys["tasks"]["dev"]["size"], keys["tasks"]["test"]["size"] = size.dev, size.test
    keys |= {"budget": {"rounds": size.rounds}} | changes
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "OBJECTIVE.md"
    path.write_text(f"---\n{yaml.safe_dump(keys, sort_keys=False)}---\n{prose}", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Sat:
    """How a student did."""

    name: str
    parameters: int
    tokens: int
    """Trained on, by all that led to it, round 0 and discarded rounds included."""
    flops: float
    """Spent on it, sampling included."""
    dev: Score
    test: Evaluation


def big_students(size: Size, folder: Path, again: bool, pool: Executor) -> Callable[[], list[Sat]]:
    """Begin to train the big student with each learning rate, or find what it came to; call for that."""
    runs = {rate: begin_big(size, rate, folder) for rate in RATES}
    bench = runs[RATES[0]].bench
    exams = [problem.id for problem in (*bench.tasks.dev, *bench.tasks.test)]
    rows = [demonstration.model_dump() for demonstration in (*bench.demonstrations, *bench.held_out)]
    task = digest(asdict(size), BIG.model_dump(), RATES, exams, rows)
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if kept.get("task") == task and not again:
        known = [
            Sat(**sat | {"dev": Score(**sat["dev"]), "test": Evaluation(**sat["test"])}) for sat in kept["students"]
        ]
        return lambda: known
    trained = [pool.submit(train_big, run, rate, size) for rate, run in runs.items()]

    def wait() -> list[Sat]:
        found = [one.result() for one in trained]
        told = {
            "command": COMMAND,
            "task": task,
            "versions": {package: version(package) for package in ("torch", "transformers", "trl")},
            "students": [asdict(sat) | {"dev": sat.dev.model_dump(), "test": sat.test.model_dump()} for sat in found],
        }
        if size != QUICK:
            write_atomic(KEPT, json.dumps(told) + "\n")
        return found

    return wait


def begin_big(size: Size, rate: float, folder: Path) -> Run:
    """The run, of a round 0 alone, in which the big student is trained with this learning rate."""
    place = folder / f"big-{rate:g}"
    path = write_objective(place, size, control=False)
    run = open_run(read_objective(path), place / "run", Lines(f"30M, rate {rate:g}"))
    told = {"architecture": BIG.architecture, "settings": BIG.training.model_copy(update={"learning_rate": rate})}
    return replace(run, bench=replace(run.bench, student=run.bench.student.model_copy(update=told)))


def train_big(run: Run, rate: float, size: Size) -> Sat:
    """Train it to convergence, and have its best checkpoint sit both exams."""
    student = round_zero(run, cycle=size.cycle, patience=size.patience, max_cycles=size.max_cycles)
    dev, test = (
        examine(exam, student, run.room(room), run.bench) for exam, room in (("dev", "000"), ("test", "test/000"))
    )
    flops = 6.0 * student.parameters * student.tokens
    name = f"demonstrations alone, learning rate {rate:g}, step {student.kept} of {student.steps}"
    return Sat(name, student.parameters, student.tokens, flops, dev.score, test)


def small_students(size: Size, folder: Path) -> list[Sat]:
    """The small student by the loop; by the uniform plan for as many tokens; and the loop's round 0 and control."""
    loop = play(write_objective(folder / "loop", size))
    spent = sum(cost.tokens_sampled + cost.tokens_trained for cost in spent_on(loop, "best"))
    budget = {"rounds": 4 * size.rounds, "tokens": spent + spent // size.rounds}  # the last round may not fit
    told = write_objective(folder / "uniform", size, budget=budget, control=False, cast={"orchestrator": "uniform"})
    return [
        *sat(loop, "start", "demonstrations alone, round 0"),
        *sat(loop, "control", "demonstrations alone, the loop's control"),
        *sat(play(told), "best", "uniform plan, as many tokens"),
        *sat(loop, "best", "the loop"),
    ]


def play(objective: Path) -> Standing:
    """Run an objective to its end, unless that was done before."""
    run = objective.parent / "run"
    command = [sys.executable, "-m", "loop.cli", "run", str(objective), "--run", str(run)]
    with (objective.parent / "run.log").open("a", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    return read_standing(run)


def sat(run: Standing, who: str, name: str) -> Iterator[Sat]:
    """How a run's start, best or control did on both exams; nothing where no round was kept, so that none sat."""
    dev, test = (run.exams.of(exam, run.best)[who] for exam in ("dev", "test"))
    made = run.rounds[0].checkpoint
    if dev and test and made:
        costs = spent_on(run, who)
        tokens, flops = sum(cost.tokens_trained for cost in costs), sum(cost.flops for cost in costs)
        yield Sat(name, made.parameters, tokens, flops, dev.score, test)


def spent_on(run: Standing, who: str) -> list[Spent]:
    """What was spent on it, room by room: all begin with round 0."""
    return [
        cost
        for room, cost in run.spent.items()
        if room == "000" or (room.isdigit() and who == "best") or (room.startswith("control/") and who == "control")
    ]


def show(big: list[Sat], small: list[Sat]) -> None:
    """The students, and by how much the loop's beats the others on the sealed test."""
    table = Table(title=f"sealed test of {big[0].test.score.n} problems")
    for name in ("parameters", "taught by", "tokens trained", "TFLOP", "dev", "test", "95 %"):
        table.add_column(name, justify="left" if name == "taught by" else "right")
    for sat in (*big, *small):
        score = sat.test.score
        costs = f"{sat.tokens / 1e6:.2f}M", f"{sat.flops / 1e12:,.1f}"
        scores = f"{sat.dev.score:.3f}", f"{score.score:.3f}", f"{score.low:.3f}-{score.high:.3f}"
        table.add_row(f"{sat.parameters / 1e6:.2f}M", sat.name, *costs, *scores)
    console = Console(width=118)
    console.print(table)
    best, loop = max(big, key=lambda sat: sat.dev.score), small[-1]
    for other in (best, *small[:-1]):
        gain, low, high = paired_gain(loop.test.solved, other.test.solved, loop.test.score.n)
        words = f"{100 * gain:+.1f} points, {100 * low:.1f} to {100 * high:.1f}"
        console.print(f"{loop.name} - {other.parameters / 1e6:.2f}M, {other.name}: {words}")


if __name__ == "__main__":
    main()
