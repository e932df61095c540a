"""The few formulas by which the loop judges scores."""

from __future__ import annotations

from collections.abc import Collection
from math import comb, sqrt

from loop.records import Score, Verdict

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def wilson(correct: int, n: int) -> Score:
    """A share with its 95 % score interval (Wilson 1927); 0 of 0 is 0 with the interval 0 to 1."""
    if n == 0:
        return Score(n=0, correct=0, score=0.0, low=0.0, high=1.0)
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (centre - half if correct else 0.0), (centre + half if correct < n else 1.0)
    return Score(n=n, correct=correct, score=share, low=low, high=high)


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


def mcnemar(new: Collection[str], old: Collection[str], level: float = 0.05) -> Verdict:
    """Whether `new` is shown to be better than `old` on the same problems.

    The exact one-sided McNemar test: of the b + c problems on which the two differ, b won by `new` is compared
    with a fair coin. It is kept when P(X >= b) < `level`. The pairing takes the problems' difficulty out, which
    two separate intervals would count as noise; exact, since b + c is small in late rounds.
    """
    better, worse = len(set(new) - set(old)), len(set(old) - set(new))
    n = better + worse
    p = sum(comb(n, k) for k in range(better, n + 1)) / 2**n
    return Verdict(better=better, worse=worse, p=p, keep=p < level, level=level)
