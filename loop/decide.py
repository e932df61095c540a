"""Decide: whether a round's checkpoint takes the place of the best so far, on a dev that was read before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from loop.records import Problem, Verdict, digest
from loop.rounds import Noise, Round
from loop.statistics import Paired, mcnemar, weighted_mcnemar, wilson

ALPHA = 0.05
"""The most that the level of one reading may be, and what a kept round earns."""
STAKE = 0.5
"""Share of its wealth that a reading puts at stake. A third shows more after a bad start, fewer of steady gains."""
AGAIN = 200
"""Problems of dev that round 0's checkpoint sits a second time: under 2 % of a run of eight rounds."""
NORMAL = NormalDist()
Z_FLOOR = NORMAL.inv_cdf(0.95)


@dataclass(frozen=True)
class Bar:
    """What a new checkpoint must pass, which depends on the closed rounds alone: a resumed run decides the same."""

    level: float
    """p must be below it."""
    reads: int
    """Readings of dev that decided something, this one included."""
    flips: float
    """Share of outcomes that change when a checkpoint sits again: the upper end of the 95 % interval."""


def level_after(kept: Iterable[bool]) -> float:
    """The level of the next reading of dev, by what the earlier ones decided.

    Alpha-investing (Foster & Stine 2008, J. R. Statist. Soc. B 70:429): a run begins with the wealth W = α(1 − α). A
    reading puts half of it at stake, at the level a with a/(1 − a) = W/2, and at most α. A discarded round costs
    a/(1 − a), a kept one costs nothing and earns α. On average at most α·(1 − α + rounds kept) rounds are then kept
    without a gain, and in a run without any gain one at most 5 % of the time, where each p holds whatever was decided
    before. Here a best that was unlucky on dev is met again and again: `python -m benchmarks.decisions` simulates
    that, and finds 2 % of such rounds kept and 3 % of such runs. Bonferroni's rule must know the number of rounds,
    which a raised budget changes; it, levels fixed before, and LORD (Javanmard & Montanari 2018, arXiv 1603.09000)
    show fewer gains there. The levels while nothing is kept are 0.0232, 0.0117, 0.0059, 0.0030 …, and while all is
    kept 0.0232, 0.0465, 0.05, 0.05 …
    """
    wealth = ALPHA * (1 - ALPHA)
    for was_kept in kept:
        level = _level(wealth)
        wealth += ALPHA if was_kept else -level / (1 - level)
    return _level(wealth)


def bar_of(rounds: Sequence[Round]) -> Bar:
    """The bar for the round after these. Rounds that failed have not read dev."""
    decided = [r.status == "kept" for r in rounds if r.verdict is not None]
    noise = next((r.noise for r in rounds if r.noise is not None), None)
    flips = wilson(noise.rose + noise.fell, noise.n).high if noise and noise.n else 0.0
    return Bar(level=level_after(decided), reads=len(decided) + 1, flips=flips)


def decide(new: Collection[str], old: Collection[str], n: int, bar: Bar, suites: Sequence[Paired] = ()) -> Verdict:
    """Whether the problems that `new` solved, of n, show it to be better than `old`.

    p must be below the bar's level, and the gain above the noise floor: what flips alone give in 95 of 100 cases,
    1.645·√(n·flips) problems. Flips go both ways alike, and so the exact test allows for those it sees, as part of
    better + worse; the floor adds to it only where two checkpoints differ on fewer problems than one does from
    itself. Of an exam with weights (`suites`) gain and floor are shares of the score, in which a problem of a suite
    counts weight/n: 1.645·√(Σ n·flips·(weight/n)²).
    """
    if suites:
        verdict = weighted_mcnemar(suites, bar.level)
        floor = Z_FLOOR * sqrt(sum(suite.n * bar.flips * suite.step**2 for suite in suites))
    else:
        verdict = mcnemar(new, old, bar.level)
        floor = Z_FLOOR * sqrt(n * bar.flips)
    gain = verdict.better - verdict.worse if verdict.gain is None else verdict.gain
    keep = verdict.keep and gain > floor
    return verdict.model_copy(update={"reads": bar.reads, "floor": floor, "keep": keep})


def in_words(verdict: Verdict) -> str:
    """The verdict for people and planners: "42 better, 32 worse, p = 0.148; reading 2 of dev asks p < 0.0465"."""
    by_weight = "" if verdict.gain is None else f"{100 * verdict.gain:+.1f} points by weight, "
    words = f"{verdict.better} better, {verdict.worse} worse, {by_weight}p = {verdict.p:.3g}"
    if verdict.reads:
        words += f"; reading {verdict.reads} of dev asks p < {verdict.level:.3g}"
    if verdict.p < verdict.level and not verdict.keep:
        floor = f"{verdict.floor:.1f} problems" if verdict.gain is None else f"{100 * verdict.floor:.1f} points"
        words += f", and a gain of more than {floor}, which flips alone may give"
    return words


def problems_again(dev: Sequence[Problem], seed: int) -> list[Problem]:
    """Up to 200 problems of dev, in an order that is not dev's."""
    return sorted(dev, key=lambda problem: digest("again", seed, problem.id))[:AGAIN]


def noise_of(first: Collection[str], again: Collection[str], sat: Collection[str]) -> Noise:
    """How many outcomes changed between two sittings: ids solved in each, and ids of all that was sat again."""
    before, after = set(first) & set(sat), set(again)
    return Noise(n=len(sat), rose=len(after - before), fell=len(before - after))


def optimism(verdict: Verdict, n: int) -> float:
    """By how much a kept checkpoint's score on dev (n problems) is too high on average, since dev chose it.

    A gain that passed a bar is too large on average: with g the true gain and s = √(better + worse)/n, what is seen
    is normal around g, cut off below z·s. g is put where the mean of that is what was seen, its maximum likelihood
    (Zhong & Prentice 2008, Biostatistics 9:621), but not below 0. Half of the excess is the new score's, half the old
    one's being too low: their errors are of one size. Of an exam with weights, g and s are those of the score.
    """
    s = sqrt(verdict.better + verdict.worse) / n if verdict.gain is None else verdict.spread
    seen = (verdict.better - verdict.worse) / n if verdict.gain is None else verdict.gain
    if not s or not verdict.keep:
        return 0.0
    cut = max(0.0, NORMAL.inv_cdf(1 - verdict.level))
    low, high = 0.0, max(seen, 0.0)
    for _ in range(40):
        gain = (low + high) / 2
        low, high = (gain, high) if gain + s * _excess(cut - gain / s) < seen else (low, gain)
    return s * _excess(cut - low / s) / 2


def _excess(cut: float) -> float:
    """The mean of a standard normal above `cut`."""
    return NORMAL.pdf(cut) / max(NORMAL.cdf(-cut), 1e-300)


def _level(wealth: float) -> float:
    stake = STAKE * wealth
    return min(ALPHA, stake / (1 + stake))
