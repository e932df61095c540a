"""What `benchmarks.compute_matched` found, as tables: per seed, and the mean over seeds with its 95 % interval."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table

from loop.coverage import SamplingQuality, coverage_at
from loop.records import Evaluation, Score
from loop.statistics import difference, paired_gain, wilson

CONTROL = "demonstrations"
"""The arm that no sampler taught."""


@dataclass(frozen=True)
class Drawn:
    """A sampler, and what it drew."""

    parameters: int
    accuracy: Score
    converged: bool
    """Whether its training ended because nothing more was gained."""
    trained_flops: float
    """Of its round 0."""
    each: int
    """Samples of a problem."""
    flops: float
    """Of all its samples."""
    quality: SamplingQuality
    right: tuple[int, ...]
    """Right samples of each problem."""
    ways: tuple[int, ...]
    """Distinct right solutions of each problem."""
    answer_only: float | None
    """Of the samples with a right answer, the share with wrong working: the false positives of an answer check."""
    admitted: int
    problems: int
    """With a row that was admitted."""

    def covered(self, k: int) -> float:
        """Coverage at k samples a problem."""
        return coverage_at(k, [(self.each, right) for right in self.right])


@dataclass(frozen=True)
class Taught:
    """A student, and what came of it in each arm."""

    start: Score
    arms: Mapping[str, Evaluation]
    set_ups: Mapping[str, str]
    """By sampler."""


@dataclass(frozen=True)
class Found:
    """What one seed came to."""

    seed: int
    drawn: Mapping[str, Drawn]
    """By sampler, the smaller first."""
    taught: Mapping[str, Taught]
    """By student."""


Interval = tuple[float, float, float]
"""Mean, and the ends of its 95 % interval."""


def over(values: Sequence[float]) -> Interval | None:
    """Mean with the 95 % interval of Student's t; None of fewer than two values: nothing is known of their spread."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    mean, half = fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return mean, mean - half, mean + half


def show(found: Sequence[Found], samples: int) -> None:
    """Print the tables and what they come to; `samples` is what the large sampler draws of a problem."""
    console = Console(width=190) if not Console().is_terminal else Console()
    console.print(samplers_table(found, samples))
    for student in found[0].taught:
        console.print(students_table(found, student))
    for line in closing(found):
        console.print(line, highlight=False)


def samplers_table(found: Sequence[Found], samples: int) -> Table:
    columns: dict[str, tuple[Callable[[Drawn], str], Callable[[Drawn], float | None]]] = {
        "accuracy": (lambda d: within(d.accuracy), lambda d: d.accuracy.score),
        "samples": (lambda d: f"{d.quality.samples:,} ({d.each} each)", lambda d: None),
        "GFLOPs": (lambda d: f"{d.flops / 1e9:,.0f}", lambda d: d.flops / 1e9),
        f"coverage@{samples}": (lambda d: f"{d.covered(samples):.3f}", lambda d: d.covered(samples)),
        "coverage": (lambda d: within(coverage(d)), lambda d: coverage(d).score),
        "diversity": (lambda d: between(over(d.ways)), lambda d: fmean(d.ways)),
        "false positives": (
            lambda d: within(d.quality.false_positive_rate) if d.quality.judged else "",
            lambda d: d.quality.false_positive_rate.score if d.quality.judged else None,
        ),
        "by answer only": (
            lambda d: "" if d.answer_only is None else f"{d.answer_only:.3f}",
            lambda d: d.answer_only,
        ),
        "admitted": (lambda d: f"{d.admitted:,}", lambda d: d.admitted),
        "problems": (lambda d: f"{d.problems:,}", lambda d: d.problems),
    }
    table = Table(title="samplers at equal FLOPs; coverage and diversity at each one's own number of samples")
    for name in ("seed", "sampler", *columns):
        table.add_column(name, justify="left" if name == "sampler" else "right")
    for name in found[0].drawn:
        title = f"{name}, {found[0].drawn[name].parameters / 1e6:.2f}M"
        for one in found:
            table.add_row(str(one.seed), title, *(read(one.drawn[name]) for read, _ in columns.values()))
        means = [over_seeds([count(one.drawn[name]) for one in found]) for _, count in columns.values()]
        table.add_row("mean", title, *means, end_section=True)
    return table


def students_table(found: Sequence[Found], student: str) -> Table:
    """Scores of one student's arms on the exam, and the differences on the same problems."""
    first = found[0].taught[student]
    cheap, dear = found[0].drawn
    names = {by: f"taught by {by}\n{first.set_ups[by]}" for by in first.set_ups} | {CONTROL: "demonstrations\nalone"}
    gaps = {
        f"{cheap} − {dear}": (cheap, dear),
        f"{cheap} − alone": (cheap, CONTROL),
        f"{dear} − alone": (dear, CONTROL),
    }
    table = Table(title=f"the student {student}, trained for the same tokens in each arm: exam of {first.start.n:,}")
    for name in ("seed", "at the start", *names.values(), *gaps):
        table.add_column(name, justify="right")
    for one in found:
        taught = one.taught[student]
        scores = [within(taught.arms[by].score) for by in names]
        paired = [between(gain(taught, *pair)) for pair in gaps.values()]
        table.add_row(str(one.seed), within(taught.start), *scores, *paired)
    means = [[one.taught[student].arms[by].score.score for one in found] for by in names]
    means += [[gain(one.taught[student], *pair)[0] for one in found] for pair in gaps.values()]
    start = over_seeds([one.taught[student].start.score for one in found])
    table.add_section()
    table.add_row("mean", start, *map(over_seeds, means))
    return table


def closing(found: Sequence[Found]) -> list[str]:
    """What the numbers say, in words that follow from them alone."""
    cheap, dear = found[0].drawn
    lines = [f"seed {one.seed}: {fit(one)}" for one in found]
    measures: dict[str, list[float]] = {
        "coverage": [coverage(one.drawn[cheap]).score - coverage(one.drawn[dear]).score for one in found],
        "diversity": [fmean(one.drawn[cheap].ways) - fmean(one.drawn[dear].ways) for one in found],
        "false positives": [
            one.drawn[cheap].quality.false_positive_rate.score - one.drawn[dear].quality.false_positive_rate.score
            for one in found
            if all(drawn.quality.judged for drawn in one.drawn.values())
        ],
    }
    for student in found[0].taught:
        gaps = [gain(one.taught[student], cheap, dear)[0] for one in found]
        measures[f"score of the student {student}"] = gaps
    return lines + [f"{name}, {cheap} − {dear}: {told(gaps)}" for name, gaps in measures.items() if gaps]


def fit(one: Found) -> str:
    """Whether a seed's comparison means anything: what was spent, and who of the samplers is the better."""
    (cheap, small), (dear, large) = one.drawn.items()
    spent = f"{cheap} spent {small.flops / large.flops:.1%} of the FLOPs of {dear} on samples"
    spent += f" (and {small.trained_flops / large.trained_flops:.1%} on its own training)"
    spent += "".join(f"; {name} was still gaining" for name, drawn in one.drawn.items() if not drawn.converged)
    gap, low, high = difference(large.accuracy, small.accuracy)
    if low <= 0 <= high:
        return f"{spent}; their accuracies are not told apart"
    return f"{spent}; {dear if gap > 0 else cheap} is the more accurate"


def told(gaps: Sequence[float]) -> str:
    """A difference over seeds, and whether it is told from none."""
    found = over(gaps)
    if found is None:
        return f"{gaps[0]:+.3f} with one seed, of which no interval follows"
    verdict = "not told from no difference" if found[1] <= 0 <= found[2] else "above 0" if found[0] > 0 else "below 0"
    return f"{found[0]:+.3f}, 95 % interval {found[1]:+.3f} to {found[2]:+.3f} over {len(gaps)} seeds: {verdict}"


def coverage(drawn: Drawn) -> Score:
    """Share of the problems with a right solution among all samples."""
    return wilson(sum(map(bool, drawn.ways)), len(drawn.ways))


def gain(taught: Taught, new: str, old: str) -> Interval:
    """Of one arm over another, on the same problems."""
    one, other = taught.arms[new], taught.arms[old]
    return paired_gain(one.solved, other.solved, one.score.n)


def within(score: Score) -> str:
    return f"{score.score:.3f} ({score.low:.3f}-{score.high:.3f})"


def between(found: Interval | None) -> str:
    if found is None:
        return ""
    mean, low, high = found
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def over_seeds(values: Sequence[float | None]) -> str:
    """Mean and interval of a column; nothing where a seed has no value."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    mean = over(known)
    return between(mean) if mean and abs(mean[0]) < 10 else f"{fmean(known):,.0f}" if mean else ""
