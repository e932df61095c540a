"""The formulas against published values, and how often a checkpoint that is no better is kept."""

from __future__ import annotations

import random
from collections.abc import Collection
from fractions import Fraction
from math import comb

import pytest

from loop.statistics import difference, mcnemar, paired_gain, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(correct: int, n: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3."""
    score = wilson(correct, n)
    assert (score.n, score.correct, score.score) == (n, correct, correct / n)
    assert (round(score.low, 4), round(score.high, 4)) == (low, high)
    mirror = wilson(n - correct, n)
    assert mirror.low == pytest.approx(1 - score.high) and mirror.high == pytest.approx(1 - score.low)


def test_wilson_at_the_ends() -> None:
    nothing = wilson(0, 0)
    assert (nothing.score, nothing.low, nothing.high) == (0.0, 0.0, 1.0)
    for n in range(1, 60):
        for score in (wilson(correct, n) for correct in range(n + 1)):
            assert 0 <= score.low <= score.score <= score.high <= 1
            assert (score.low == 0, score.high == 1) == (score.correct == 0, score.correct == n)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_a_difference_of_independent_shares(a: tuple[int, int], b: tuple[int, int], low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 873, table II, method 10."""
    gap, *interval = difference(wilson(*a), wilson(*b))
    assert gap == pytest.approx(a[0] / a[1] - b[0] / b[1])
    assert [round(end, 4) for end in interval] == [low, high]


def solved(both: int, one: int, other: int) -> tuple[set[str], set[str]]:
    """Ids that two students solved: `both` of them both, then `one` only the first, `other` only the second."""
    common = {f"b{i}" for i in range(both)}
    return common | {f"o{i}" for i in range(one)}, common | {f"t{i}" for i in range(other)}


def test_a_paired_gain() -> None:
    """The approval of a prime minister, 1,600 asked twice: -4 points, -6 to -2 (Agresti, section 11.1)."""
    gain, low, high = paired_gain(*solved(794, 86, 150), 1600)
    assert (round(gain, 4), round((high - low) / 2 / 1.959964, 4)) == (-0.04, 0.0095)
    assert (round(low, 2), round(high, 2)) == (-0.06, -0.02)
    same = paired_gain(*solved(10, 0, 0), 20)
    assert same == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("better", "worse", "p", "keep"),
    [
        (0, 0, Fraction(1), False),
        (4, 0, Fraction(1, 16), False),
        (5, 0, Fraction(1, 32), True),
        (10, 1, Fraction(12, 2048), True),
        (1, 10, Fraction(2047, 2048), False),
        (9, 3, Fraction(299, 4096), False),
        (11, 4, Fraction(1941, 32768), False),
        (10, 3, Fraction(378, 8192), True),
    ],
)
def test_mcnemar(better: int, worse: int, p: Fraction, keep: bool) -> None:
    verdict = mcnemar(*solved(50, better, worse))
    assert (verdict.better, verdict.worse, verdict.keep) == (better, worse, keep)
    assert verdict.p == pytest.approx(float(p), rel=1e-12)


def test_mcnemar_of_very_many() -> None:
    verdict = mcnemar(*solved(0, 1000, 900))
    tail = Fraction(sum(comb(1900, k) for k in range(1000, 1901)), 2**1900)
    assert verdict.p == pytest.approx(float(tail), rel=1e-12) and verdict.keep


def kept(rise: float, rounds: int, luck: random.Random, n: int = 300) -> float:
    """How often a checkpoint that solves `rise` more than the best is kept; how hard the problems are differs."""
    odds = [luck.betavariate(1.5, 1.5) for _ in range(n)]

    def sit(more: float) -> Collection[str]:
        return {str(i) for i, odd in enumerate(odds) if luck.random() < min(1.0, odd + more)}

    return sum(mcnemar(sit(rise), sit(0.0)).keep for _ in range(rounds)) / rounds


def test_what_is_no_better_is_seldom_kept() -> None:
    luck = random.Random(0)
    false = kept(0.0, 2000, luck)
    assert 0.01 < false <= 0.05, "the exact test stays below its level, and is not vain"
    assert kept(-0.1, 500, luck) <= 0.005
    assert kept(0.15, 200, luck) >= 0.95
