"""Evaluate: the student sits an exam, greedily, and a paired test decides whether it is better than the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.strategies import TEMPERATURE
from loop.bench import Bench, keyed
from loop.decide import Bar, decide, noise_of, problems_again
from loop.judging import Judge
from loop.records import CellScore, Checkpoint, Evaluation, Problem, Sample
from loop.room import AGAIN, ATTEMPTS, EVALUATION, SAMPLED, Room
from loop.rounds import Noise
from loop.sampled import keyed_samples, with_sampled
from loop.seats import Draw
from loop.suites import paired_suites, score_exam, score_suites


def sit_exam(problems: Sequence[Problem], student: Checkpoint, room: Room, bench: Bench) -> list[Sample]:
    """The student's greedy answer to every problem. What it costs was held back, so no limit ends it."""
    return bench.draw(room, ATTEMPTS, [Draw(bench.student_of(student), keyed(problems))])


def sample_exam(
    problems: Sequence[Problem], samples: int, student: Checkpoint, room: Room, bench: Bench
) -> list[Sample]:
    """So many answers of the student to every problem, at the temperature at which a plan would draw them.

    What it costs was held back.
    """
    wanted = keyed_samples(problems, samples)
    return bench.draw(room, SAMPLED, [Draw(bench.student_of(student), wanted, temperature=TEMPERATURE)])


def examine(
    exam: str,
    student: Checkpoint,
    room: Room,
    bench: Bench,
    best: Evaluation | None = None,
    bar: Bar | None = None,
) -> Evaluation:
    """Have the student sit dev or test, with the samples that the objective asks for; see `evaluate`."""
    problems, samples = bench.tasks.dev if exam == "dev" else bench.tasks.test, bench.tasks.samples[exam]
    attempts = room.once(ATTEMPTS, lambda: sit_exam(problems, student, room, bench))
    sampled = room.once(SAMPLED, lambda: sample_exam(problems, samples, student, room, bench)) if samples else []
    return room.once(EVALUATION, lambda: evaluate(exam, attempts, student, bench.judge, best, bar, sampled))


def sit_again(problems: Sequence[Problem], student: Checkpoint, room: Room, bench: Bench) -> list[Sample]:
    """The same student's greedy answers to a part of dev, with another seed and in another order."""
    return bench.draw(room, AGAIN, [Draw(bench.student_of(student), keyed(problems_again(problems, bench.seed)))])


def measure_noise(first: Evaluation, again: Sequence[Sample], judge: Judge) -> Noise:
    """How many outcomes the second sitting changed."""
    solved = {sample.problem.id for sample in again if judge.attempt(sample).correct}
    return noise_of(first.solved, solved, {sample.problem.id for sample in again})


def evaluate(
    exam: str,
    samples: Sequence[Sample],
    student: Checkpoint,
    judge: Judge,
    best: Evaluation | None = None,
    bar: Bar | None = None,
    sampled: Sequence[Sample] = (),
) -> Evaluation:
    """Scores by cell and suite with 95 % intervals; against `best`, whether it is shown to be better by the bar.

    The greedy answers alone decide; of the `sampled` ones it is told what they come to.
    """
    attempts = [judge.attempt(sample) for sample in samples]
    solved = sorted(a.problem.id for a in attempts if a.correct)
    sat = Counter(a.problem.cell for a in attempts)
    right = Counter(a.problem.cell for a in attempts if a.correct)
    cells = [
        CellScore(skill=cell.skill, level=cell.level, n=sat[cell], correct=right[cell])
        for cell in sorted(sat, key=lambda cell: cell.order)
    ]
    suites = score_suites(attempts, judge.suites)
    found = Evaluation(
        exam=exam,
        checkpoint=student.manifest,
        score=score_exam(attempts, suites),
        cells=tuple(cells),
        solved=tuple(solved),
        unanswered=sum(not a.response.strip() for a in attempts),
        cut_off=sum(a.finish == "length" for a in attempts),
        suites=suites,
    )
    if sampled:
        found = with_sampled(found, sampled, len(sampled) // len(samples), judge)
    if best is None or bar is None:
        return found
    verdict = decide(solved, best.solved, len(attempts), bar, paired_suites(found, best))
    return found.model_copy(update={"verdict": verdict})
