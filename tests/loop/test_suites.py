"""Suites: scores by source, the weighted score with its interval, and the paired test of a weighted exam."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from math import comb, sqrt
from pathlib import Path

import pytest
from test_tasks import make, rows, write

from loop.decide import Z_FLOOR, Bar, decide, in_words, optimism
from loop.errors import ObjectiveError
from loop.evaluate import evaluate
from loop.judging import Judge
from loop.records import Checkpoint, Problem, Sample
from loop.statistics import Paired, chance_of, mcnemar, paired_gain, weighted, weighted_gain, weighted_mcnemar, wilson
from loop.tasks import Tasks

Table = Sequence[tuple[int, int, int, int]]
"""Of each suite: better, worse, problems, weight."""


def paired(table: Table) -> list[Paired]:
    whole = sum(weight for *_, weight in table)
    return [Paired(better, worse, n, weight / whole) for better, worse, n, weight in table]


def exact_p(table: Table) -> Fraction:
    """By exact rationals, problem by problem: the share of all outcomes with a gain as large."""
    outcomes, seen = {Fraction(0): 1}, Fraction(0)
    for better, worse, n, weight in table:
        step = Fraction(weight, n)
        seen += step * (better - worse)
        for _ in range(better + worse):
            after: dict[Fraction, int] = {}
            for gain, count in outcomes.items():
                for there in (gain + step, gain - step):
                    after[there] = after.get(there, 0) + count
            outcomes = after
    return Fraction(sum(count for gain, count in outcomes.items() if gain >= seen), sum(outcomes.values()))


# The paired test.


def test_the_weighted_test_is_the_count_of_all_outcomes() -> None:
    luck = random.Random(0)
    for _ in range(150):
        table = [
            (luck.randint(0, 5), luck.randint(0, 5), luck.choice((10, 20, 37, 101)), luck.randint(1, 5))
            for _ in range(luck.randint(1, 4))
        ]
        verdict, exact = weighted_mcnemar(paired(table)), exact_p(table)
        assert verdict.p == pytest.approx(float(exact), rel=1e-12, abs=1e-15), table
        gain = sum(Fraction(w, n) * (b - c) for b, c, n, w in table) / sum(w for *_, w in table)
        assert verdict.gain == pytest.approx(float(gain), abs=1e-15)


@pytest.mark.parametrize("table", [[(9, 3, 40, 5)], [(6, 1, 100, 2), (3, 2, 300, 6)], [(1, 0, 10, 1), (8, 3, 30, 3)]])
def test_one_suite_or_equal_steps_are_mcnemars_test(table: Table) -> None:
    better, worse = sum(row[0] for row in table), sum(row[1] for row in table)
    plain = mcnemar({f"n{i}" for i in range(better)}, {f"o{i}" for i in range(worse)})
    verdict = weighted_mcnemar(paired(table))
    assert (verdict.p, verdict.keep, verdict.better, verdict.worse) == (plain.p, plain.keep, better, worse)


def tables(differing: Sequence[int], steps: Sequence[tuple[int, int]]) -> Iterator[tuple[Table, Fraction]]:
    """Every table in which so many problems of each suite differ, with its chance where no student is better."""
    for won in product(*(range(n + 1) for n in differing)):
        chance = Fraction(1)
        for b, d in zip(won, differing, strict=True):
            chance *= Fraction(comb(d, b), 2**d)
        yield [(b, d - b, *step) for b, d, step in zip(won, differing, steps, strict=True)], chance


@pytest.mark.parametrize("steps", [((20, 3), (50, 1)), ((30, 1), (30, 2)), ((7, 5), (400, 1))])
def test_what_is_no_better_is_kept_no_more_often_than_the_level_says(steps: Sequence[tuple[int, int]]) -> None:
    """Over all tables of up to 9 and 7 differing problems, at every level that alpha-investing may set."""
    for differing in product((0, 1, 4, 9), (0, 2, 7)):
        found = [(weighted_mcnemar(paired(table)).p, chance) for table, chance in tables(differing, steps)]
        for level in (0.003, 0.0232, 0.05, 0.2):
            assert sum(chance for p, chance in found if p < level) < level
        assert sum(chance for _, chance in found) == 1


def test_thousands_of_problems_in_five_suites_are_judged_and_rounding_only_raises_p() -> None:
    table = [(208, 192, n, w) for n, w in zip((997, 1009, 1013, 1019, 1021), (10, 13, 17, 20, 11), strict=True)]
    exact = weighted_mcnemar(paired(table)).p
    assert exact == pytest.approx(0.040, abs=0.005), "a normal table says so"
    coins = {suite.step: 400 for suite in paired(table)}
    for most, slack in ((10**6, 0.02), (10**5, 0.2)):
        assert exact <= chance_of(208 * sum(coins), coins, most) < exact * (1 + slack)


def test_the_floor_and_optimism_are_in_shares_of_the_score() -> None:
    suites = paired([(8, 0, 100, 3), (0, 1, 300, 1)])
    quiet, loud = (decide((), (), 400, Bar(level=0.02, reads=2, flips=flips), suites) for flips in (0.0, 0.3))
    assert quiet.keep and not loud.keep and quiet.p == loud.p
    assert loud.floor == pytest.approx(Z_FLOOR * sqrt(0.3 * (100 * 0.0075**2 + 300 * (0.25 / 300) ** 2)))
    assert in_words(quiet).startswith("8 better, 1 worse, +5.9 points by weight, p = 0.00")
    assert in_words(loud).endswith("and a gain of more than 6.9 points, which flips alone may give")
    same = [Paired(62, 40, 1000, 1.0)]
    plain = mcnemar({f"n{i}" for i in range(62)}, {f"o{i}" for i in range(40)}, 0.05)
    assert optimism(plain, 1000) > 0
    assert optimism(weighted_mcnemar(same), 1000) == pytest.approx(optimism(plain, 1000))


# Scores.


def test_the_interval_of_one_suite_is_wilsons_and_none_leaves_0_and_1() -> None:
    for correct, n in ((0, 7), (3, 7), (7, 7), (150, 400)):
        assert weighted([(wilson(correct, n), 1.0)]).model_dump() == pytest.approx(wilson(correct, n).model_dump())
        two = weighted([(wilson(correct, n), 0.7), (wilson(n, n), 0.3)])
        assert 0 <= two.low <= two.score <= two.high <= 1 and two.n == 2 * n
    a, b = wilson(56, 70), wilson(48, 80)
    mixed = weighted([(a, 0.75), (b, 0.25)])
    assert mixed.score == pytest.approx(0.75 * 0.8 + 0.25 * 0.6) and mixed.correct == 104
    assert mixed.low == pytest.approx(mixed.score - sqrt((0.75 * (0.8 - a.low)) ** 2 + (0.25 * (0.6 - b.low)) ** 2))


def test_the_interval_of_a_weighted_score_covers() -> None:
    luck = random.Random(3)
    shares, sizes, weights = (0.9, 0.3), (40, 60), (0.75, 0.25)
    true, covered = sum(w * p for w, p in zip(weights, shares, strict=True)), 0
    for _ in range(2000):
        drawn = [wilson(sum(luck.random() < p for _ in range(n)), n) for p, n in zip(shares, sizes, strict=True)]
        score = weighted(list(zip(drawn, weights, strict=True)))
        covered += score.low <= true <= score.high
    assert 0.935 < covered / 2000 < 0.97


def test_a_weighted_gain_of_one_suite_is_the_paired_gain() -> None:
    new, old = {f"n{i}" for i in range(30)}, {f"o{i}" for i in range(12)}
    assert weighted_gain([Paired(30, 12, 200, 1.0)]) == pytest.approx(paired_gain(new, old, 200))
    gain, low, high = weighted_gain([Paired(30, 12, 200, 0.5), Paired(0, 0, 50, 0.5)])
    assert (gain, high - low) == pytest.approx((0.045, (paired_gain(new, old, 200)[2] - 0.09)))


# Exams.


def listed(folder: Path, *more: str) -> Tasks:
    write(folder / "practice.jsonl", rows(range(100)))
    write(folder / "hard.jsonl", rows(range(100, 120), skill="double", level=3))
    write(folder / "easy.jsonl", rows(range(200, 240)))
    sources = f"[{{source: hard.jsonl{more[0]}}}, {{source: easy.jsonl{more[1]}}}]"
    return make(folder, "{source: practice.jsonl}", sources)


def answers(problems: Sequence[Problem], right: Sequence[int]) -> list[Sample]:
    return [
        Sample(
            id=p.id, problem=p, response=f"#### {p.answer if i in right else 'x'}", finish="stop",
            prompt_tokens=1, completion_tokens=1,
        )
        for i, p in enumerate(problems)
    ]  # fmt: skip


STUDENT = Checkpoint(path="", manifest="m", parameters=1)


def test_an_exam_with_weights_is_scored_and_decided_by_them(tmp_path: Path) -> None:
    tasks = listed(tmp_path, ", weight: 3", "")
    judge = Judge(tasks, ())
    old = evaluate("dev", answers(tasks.dev, range(15, 60)), STUDENT, judge)
    new = evaluate("dev", answers(tasks.dev, range(2, 52)), STUDENT, judge, old, Bar(0.05, 1, 0.0))
    assert [(s.name, s.weight, s.score.correct, s.score.n) for s in new.suites] == [
        ("hard", 0.75, 18, 20),
        ("easy", 0.25, 32, 40),
    ]
    assert new.score.score == pytest.approx(0.75 * 18 / 20 + 0.25 * 32 / 40) and new.score.correct == 50
    assert [(cell.skill, cell.level, cell.correct) for cell in new.cells] == [("double", 3, 18), ("easy", None, 32)]
    assert new.verdict and (new.verdict.better, new.verdict.worse) == (13, 8)
    assert new.verdict.p == pytest.approx(float(exact_p([(13, 0, 20, 3), (0, 8, 40, 1)])))
    assert new.verdict.keep and not mcnemar(new.solved, old.solved).keep, "the heavy suite decides"
    assert judge.suites.keys() == {1, 2}


@pytest.mark.parametrize("more", [("", ""), (", skill: same", ", skill: same")])
def test_an_exam_without_weights_is_one_pool(tmp_path: Path, more: tuple[str, str]) -> None:
    tasks = listed(tmp_path, *more)
    judge = Judge(tasks, ())
    old = evaluate("dev", answers(tasks.dev, range(15)), STUDENT, judge)
    new = evaluate("dev", answers(tasks.dev, range(30)), STUDENT, judge, old, Bar(0.05, 1, 0.0))
    assert new.score == wilson(30, 60) and new.verdict == decide(new.solved, old.solved, 60, Bar(0.05, 1, 0.0))
    assert new.verdict.gain is None and [suite.weight for suite in new.suites] == [None, None]
    assert [suite.name for suite in new.suites] == (["same", "same (2)"] if more[0] else ["hard", "easy"])


def test_an_exam_from_practice_has_no_suites_and_one_source_needs_no_weight(tmp_path: Path) -> None:
    write(tmp_path / "practice.jsonl", rows(range(100)))
    write(tmp_path / "own.jsonl", rows(range(200, 220)))
    tasks = make(tmp_path, "{source: practice.jsonl}", test="[{source: own.jsonl, weight: 2}]")
    judge = Judge(tasks, ())
    assert evaluate("dev", answers(tasks.dev, range(9)), STUDENT, judge).suites == ()
    (suite,) = evaluate("test", answers(tasks.test, range(9)), STUDENT, judge).suites
    assert suite.weight is None and suite.score == wilson(9, 20)


def test_a_suite_without_a_problem_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match=r"hard \(2\) has no problem that another suite has not"):
        write(tmp_path / "practice.jsonl", rows(range(100)))
        write(tmp_path / "hard.jsonl", rows(range(100, 120)))
        make(tmp_path, "{source: practice.jsonl}", "[{source: hard.jsonl}, {source: hard.jsonl, weight: 2}]")
