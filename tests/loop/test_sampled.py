"""Sampled answers: pass@k against a count of all subsets, majorities with ties, and what counts as one answer."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest
from test_suites import STUDENT, answers, listed
from test_tasks import make, rows, write

from loop.errors import ObjectiveError
from loop.evaluate import evaluate
from loop.judging import Judge
from loop.records import Problem, Sample
from loop.sampled import answer_key, keyed_samples, majority, try_out
from loop.tasks import Tasks

N = 5


def drawn(tasks: Tasks, luck: random.Random) -> tuple[list[Sample], dict[str, list[str]]]:
    """N samples for each dev problem, in any order; and what was said to each problem, in the order of its keys."""
    said: dict[str, list[str]] = {}
    made = []
    for key, problem in keyed_samples(tasks.dev, N).items():
        text = luck.choice((f"#### {problem.answer}", "#### 1", "#### 2.0", "no answer"))
        said.setdefault(problem.id, []).append(text)
        made.append(sample(problem, text, key))
    luck.shuffle(made)
    return made, said


def sample(problem: Problem, text: str, key: str = "") -> Sample:
    return Sample(id=key, problem=problem, response=text, finish="stop", prompt_tokens=1, completion_tokens=1)


def test_pass_at_k_is_the_share_of_all_subsets_with_a_right_answer(tmp_path: Path) -> None:
    tasks = listed(tmp_path, ", weight: 3", "")
    judge, (made, said) = Judge(tasks, ()), drawn(tasks, random.Random(5))
    found = evaluate("dev", answers(tasks.dev, range(9)), STUDENT, judge, sampled=made)
    assert found.sampled and [at.k for at in found.sampled.pass_at] == [1, 2, 4, 5]
    right = {p.id: [text == f"#### {p.answer}" for text in said[p.id]] for p in tasks.dev}

    def counted(problems: list[Problem], k: int) -> float:
        subsets = [any(subset) for p in problems for subset in combinations(right[p.id], k)]
        return sum(subsets) / len(subsets)

    hard, easy = tasks.dev[:20], tasks.dev[20:]
    for place, k in enumerate((1, 2, 4, 5)):
        parts = [counted(part, k) for part in (hard, easy)]
        for part, record in zip((hard, easy), (*found.suites,), strict=True):
            assert record.sampled and record.sampled.pass_at[place].share == pytest.approx(counted(part, k))
        assert found.sampled.pass_at[place].share == pytest.approx(0.75 * parts[0] + 0.25 * parts[1])
    assert [cell.sampled for cell in found.cells] == [suite.sampled for suite in found.suites]
    assert found.score == evaluate("dev", answers(tasks.dev, range(9)), STUDENT, judge).score, "they decide nothing"


def test_a_majority_is_counted_by_hand_too(tmp_path: Path) -> None:
    write(tmp_path / "practice.jsonl", rows(range(300)))
    tasks = make(tmp_path, "{source: practice.jsonl, verifier: numeric}", "{from: practice, size: 100}")
    judge, (made, said) = Judge(tasks, ()), drawn(tasks, random.Random(1))
    wins = 0
    for problem in tasks.dev:
        texts = [text for text in said[problem.id] if text != "no answer"]
        most = max(map(texts.count, texts), default=0)
        wins += next((text for text in texts if texts.count(text) == most), "") == f"#### {problem.answer}"
    found = evaluate("dev", answers(tasks.dev, ()), STUDENT, judge, sampled=made).sampled
    assert found and found.majority == wins / 100 and 0.2 < found.majority < 0.8


def test_ties_go_to_what_came_first_and_nothing_read_is_wrong() -> None:
    assert majority(["a", "right", "right", "a"], [False, True, True, False]) is False
    assert majority(["right", "a", "a", "right"], [True, False, False, True]) is True
    assert majority([None, None, None, "right"], [False, False, False, True]) is True, "what is not read has no vote"
    assert majority([None, None], [False, False]) is False


@pytest.mark.parametrize(
    ("verifier", "one", "other", "same"),
    [
        ("numeric", "1,000", "1000.0", True),
        ("numeric", "$5", "5 apples", True),
        ("numeric", "5", "6", False),
        ("exact", "Red  Fox", "red fox", True),
        ("choice", "(b)", "B. Paris", True),
        ("choice", "(b)", "(c)", False),
        ("scorer", "0 1 1", "0 1  1", True),
        ("math", "x+1", "1+x", False),
    ],
)
def test_wrong_answers_are_the_same_by_number_letter_or_text(verifier: str, one: str, other: str, same: bool) -> None:
    assert (answer_key(verifier, one, False) == answer_key(verifier, other, False)) is same


def test_right_answers_are_one_where_there_is_one_right_answer() -> None:
    assert answer_key("math", "x+1", True) == answer_key("math", "1+x", True) == "right"
    assert answer_key("scorer", "3*4", True) != answer_key("scorer", "4*3", True), "several may be right there"
    assert answer_key("numeric", "right", False) != answer_key("numeric", "7", True)
    assert answer_key("numeric", "7", False) == Fraction(7)


def test_the_order_of_the_keys_counts_not_that_of_the_rows(tmp_path: Path) -> None:
    tasks = listed(tmp_path, "", "")
    problem, judge = tasks.dev[0], Judge(tasks, ())
    first = [sample(problem, text) for text in (f"#### {problem.answer}", "#### 0")]
    assert (try_out(first, judge).majority, try_out(first[::-1], judge).majority) == (True, False)


# The objective.


def test_both_forms_of_an_exam_take_samples(tmp_path: Path) -> None:
    write(tmp_path / "practice.jsonl", rows(range(100)))
    write(tmp_path / "own.jsonl", rows(range(200, 220)))
    own = "{sources: [{source: own.jsonl, weight: 2}], samples: 4}"
    tasks = make(tmp_path, "{source: practice.jsonl}", "{from: practice, size: 20, samples: 8}", own)
    assert tasks.samples == {"dev": 8, "test": 4} and (len(tasks.dev), len(tasks.test)) == (20, 20)


@pytest.mark.parametrize(
    ("exam", "words"),
    [
        ("{from: practice, size: 20, samples: 1}", "tasks.dev.samples: 1 is too small; write 2 or more"),
        ("{sources: [], samples: 4}", "tasks.dev.sources: [] is empty; write at least one"),
        ("{sources: 7}", "tasks.dev.sources: 7 is not a list"),
        ("{sources: [{source: own.jsonl}], size: 9}", "tasks.dev.size: 9 stands beside sources; take one out"),
        ("{sources: [{source: own.jsonl, siz: 9}]}", "tasks.dev.sources.0.siz: 9 stands under an unknown key; did"),
        ("{sources: [{source: own.jsonl}], sample: 4}", "tasks.dev.sample: 4 stands under an unknown key; did you"),
        ("[{source: own.jsonl, samples: 4}]", "tasks.dev.0.samples: 4 stands under an unknown key"),
        ("[{source: own.jsonl, weight: -1}]", "tasks.dev.0.weight: -1 is too small; write a number above 0"),
    ],
)
def test_what_is_wrong_in_an_exam_is_named(tmp_path: Path, exam: str, words: str) -> None:
    write(tmp_path / "practice.jsonl", rows(range(100)))
    write(tmp_path / "own.jsonl", rows(range(200, 220)))
    with pytest.raises(ObjectiveError) as refused:
        make(tmp_path, "{source: practice.jsonl}", exam)
    assert f"OBJECTIVE.md: {words}" in str(refused.value)
