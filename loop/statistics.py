"""The few formulas by which the loop judges scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import comb, fsum, sqrt
from typing import Any, NamedTuple

from loop.records import Score, Verdict

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
MOST_SUMS = 4_000_000
"""Sums of two groups of suites that are told apart; beyond it they are rounded up to a grid."""
LEAST_CHANCE = 1e-14
"""Numbers of problems won that are rarer count as if they reached any gain."""


class Paired(NamedTuple):
    """Two students on the same problems of one suite."""

    better: int
    """Problems that only the first solves."""
    worse: int
    n: int
    weight: float
    """Share of the suite in the score, all suites together 1."""

    @property
    def step(self) -> float:
        """What one problem adds to the score."""
        return self.weight / self.n


def wilson(correct: int, n: int) -> Score:
    """A share with its 95 % score interval (Wilson 1927); 0 of 0 is 0 with the interval 0 to 1."""
    if n == 0:
        return Score(n=0, correct=0, score=0.0, low=0.0, high=1.0)
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (centre - half if correct else 0.0), (centre + half if correct < n else 1.0)
    return Score(n=n, correct=correct, score=share, low=low, high=high)


def weighted(parts: Sequence[tuple[Score, float]]) -> Score:
    """The mean of independent shares by weight, the weights together 1, with its 95 % interval.

    The interval is MOVER's, square-and-add of the parts' own limits (Zou & Donner 2008, Statist. Med. 27:1693;
    Newcombe 1998). It lies within 0 and 1, and of one part it is that part's.
    """
    share = fsum(weight * one.score for one, weight in parts)
    return Score(
        n=sum(one.n for one, _ in parts),
        correct=sum(one.correct for one, _ in parts),
        score=share,
        low=max(0.0, share - sqrt(fsum((weight * (one.score - one.low)) ** 2 for one, weight in parts))),
        high=min(1.0, share + sqrt(fsum((weight * (one.high - one.score)) ** 2 for one, weight in parts))),
    )


def difference(a: Score, b: Score) -> tuple[float, float, float]:
    """a − b of two independent shares with the 95 % interval of Newcombe (1998, method 10)."""
    gap = a.score - b.score
    low = gap - sqrt((a.score - a.low) ** 2 + (b.high - b.score) ** 2)
    high = gap + sqrt((a.high - a.score) ** 2 + (b.score - b.low) ** 2)
    return gap, low, high


def paired_gain(new: Collection[str], old: Collection[str], n: int) -> tuple[float, float, float]:
    """Gain of `new` over `old` on the same n problems, with the 95 % Wald interval for paired shares.

    Args: ids of the problems each solved. The variance is ((b + c) − (b − c)²/n)/n² (Agresti, 2013, §11.1).
    """
    b, c = len(set(new) - set(old)), len(set(old) - set(new))
    gain = (b - c) / n
    half = Z95 * sqrt(max(b + c - (b - c) ** 2 / n, 0.0)) / n
    return gain, gain - half, gain + half


def weighted_gain(suites: Sequence[Paired]) -> tuple[float, float, float]:
    """As `paired_gain`, of suites by weight: they are independent, so that their variances add up."""
    gain = fsum(s.weight * (s.better - s.worse) / s.n for s in suites)
    variances = (max(s.better + s.worse - (s.better - s.worse) ** 2 / s.n, 0.0) * s.step**2 for s in suites)
    half = Z95 * sqrt(fsum(variances))
    return gain, gain - half, gain + half


def mcnemar(new: Collection[str], old: Collection[str], level: float = 0.05) -> Verdict:
    """Whether `new` is shown to be better than `old` on the same problems.

    The exact one-sided McNemar test: of the b + c problems on which the two differ, b won by `new` is compared
    with a fair coin. It is kept when P(X >= b) < `level`. The pairing takes the problems' difficulty out, which
    two separate intervals would count as noise; exact, since b + c is small in late rounds.
    """
    better, worse = len(set(new) - set(old)), len(set(old) - set(new))
    p = _heads(better, better + worse)
    return Verdict(better=better, worse=worse, p=p, keep=p < level, level=level)


def weighted_mcnemar(suites: Sequence[Paired], level: float = 0.05) -> Verdict:
    """`mcnemar` for a score that is a mean of suites by weight.

    Where no student is better each of the problems on which the two differ is won by either with probability ½, and
    adds or takes its suite's step. p is the chance of a gain as large as the one seen, over all 2^(b + c) outcomes.
    Where all steps are equal that is McNemar's p. Gains closer than 1e-9 of the largest step count as equal, and what
    is rounded (see `chance_of`) is rounded up: p is never below the exact one by more than the dust of a sum of
    floats, 1e-12 of it.
    """
    gain = fsum(s.step * (s.better - s.worse) for s in suites)
    better, worse = sum(s.better for s in suites), sum(s.worse for s in suites)
    won: Counter[float] = Counter()
    differing: Counter[float] = Counter()
    for suite in suites:
        step = float(f"{suite.step:.13g}")  # equal weights a problem are one suite
        won[step] += suite.better
        differing[step] += suite.better + suite.worse
    coins = {step: n for step, n in differing.items() if n}
    if len(coins) <= 1:
        p = _heads(better, better + worse)
    else:
        p = chance_of(fsum(step * won[step] for step in coins) - 1e-9 * max(coins), coins)
    spread = sqrt(fsum(step**2 * n for step, n in coins.items()))
    return Verdict(better=better, worse=worse, p=p, keep=p < level, level=level, gain=gain, spread=spread)


def _heads(least: int, coins: int) -> float:
    """The chance that so many fair coins show at least so many heads."""
    return sum(comb(coins, k) for k in range(least, coins + 1)) / (1 << coins)


def chance_of(least: float, coins: Mapping[float, int], most: int = MOST_SUMS) -> float:
    """The chance that heads, each worth its step, add up to `least` or more. Args: coins: their number by step.

    The sums of one half of the steps are met with those of the other half: exact for five steps of 400 coins each.
    More sums than `most` are rounded up to a grid, which can only raise the chance.
    """
    import numpy as np

    order = sorted(coins, key=lambda step: -coins[step])
    (few, of_few, lost), (many, of_many, more) = (
        _sums([(step, coins[step]) for step in half], most) for half in (order[1::2], order[::2])
    )
    ascending = np.argsort(few)
    reached = np.append(np.cumsum(of_few[ascending][::-1])[::-1], 0.0)
    needed = np.searchsorted(few[ascending], least - many)
    return min(1.0, float(of_many @ reached[needed]) + lost + more)


def _sums(coins: Sequence[tuple[float, int]], most: int) -> tuple[Any, Any, float]:
    """What heads of so many coins may add up to, the chance of each sum, and what was too rare to be kept."""
    import numpy as np

    sums, chances, lost = np.zeros(1), np.ones(1), 0.0
    for step, n in coins:
        of_heads = np.array([comb(n, k) / 2**n for k in range(n + 1)])
        heads = np.flatnonzero(of_heads >= LEAST_CHANCE)
        lost += float(of_heads[of_heads < LEAST_CHANCE].sum())
        if len(sums) * len(heads) > most:
            sums, chances = _rounded_up(sums, chances, most // len(heads))
        sums = np.add.outer(sums, step * heads).ravel()
        chances = np.multiply.outer(chances, of_heads[heads]).ravel()
    return sums, chances, lost


def _rounded_up(sums: Any, chances: Any, cells: int) -> tuple[Any, Any]:
    """The sums on a grid of so many cells, each at the upper end of its own."""
    import numpy as np

    low, width = sums.min(), (sums.max() - sums.min()) / cells
    places = np.minimum(np.ceil((sums - low) / width), cells).astype(np.int64)
    return low + width * np.arange(cells + 1), np.bincount(places, chances, cells + 1)
