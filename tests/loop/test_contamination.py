"""Leaks of every kind, planted and found; and what only looks like one. Equality and runs: see test_curate.py."""

from __future__ import annotations

import gzip
import json
import random
from functools import cache
from pathlib import Path

import pytest

from loop.code_match import subtrees
from loop.contamination import PIECE, RUN, Exams, Match

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "gsm8k_test.jsonl").exists(), reason="the data are not beside the checkout"
)
GARDEN = (
    "Rosa plants tulips along the northern wall of her garden and daffodils along the southern one. In spring she"
    " counts 48 flowers by the northern wall, three times as many as by the southern. A hailstorm on the second of"
    " May breaks a quarter of all the daffodils while the tulips, sheltered by an old yew hedge, stay whole. How many"
    " flowers does Rosa have left?"
)
TALE = (
    "Long before the railway came, people of the valley told each other in winter of a gardener whose walls were"
    " higher than any tower, and of what grew there. Some said that nobody had ever been inside. Others had an uncle"
    " who knew a man who had, and who came back with pockets full of seeds and would say no more about it. It was"
    " always an uncle, never a father. This is how it went, as far as anybody remembers it."
)
FUNCTION = (
    "def totals(xs):\n    out, acc = [], 0\n    for x in xs:\n        if x > acc:\n            acc += x\n"
    "        else:\n            acc = acc * 2 - x\n        out.append(acc)\n    return out\n"
)


@cache
def questions(name: str) -> list[str]:
    return [json.loads(line)["question"] for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@cache
def solutions() -> list[str]:
    problems = map(json.loads, gzip.decompress((DATA / "humaneval.jsonl.gz").read_bytes()).splitlines())
    return [problem["prompt"] + problem["canonical_solution"] for problem in problems]


def pieces_of(text: str, length: int) -> str:
    """The text in pieces of so many words, with one replaced between them."""
    return " ".join("otherwise" if n % (length + 1) == length else word for n, word in enumerate(text.split()))


def test_a_match_says_what_kind_it_is() -> None:
    exams = Exams([GARDEN, "What is 2 + 2?"], [FUNCTION])
    words = GARDEN.split()
    run, near = " ".join(words[19:31]), pieces_of(GARDEN, 9)
    assert exams.find("what is  2 + 2?", "4") == Match(
        kind="same problem", exam="What is 2 + 2?", span="what is  2 + 2?"
    )
    found = exams.find("Go on.", f"Think: {run}, three")
    assert found == Match(
        kind="run", exam=GARDEN, span="counts 48 flowers by the northern wall , three times as many as"
    )
    assert len(found.span.split()) == RUN
    assert exams.find(near, "12") == Match(kind="near-duplicate", exam=GARDEN, span=near)
    assert exams.find("Go on.", FUNCTION.replace("acc", "sum_")) == Match(
        kind="code", exam=FUNCTION, span=FUNCTION.replace("acc", "sum_").strip()
    )
    assert exams.find(TALE, "What is 2 + 3?") is None


def test_match_shows_the_text_of_what_was_found() -> None:
    exams, near = Exams([GARDEN], [FUNCTION]), pieces_of(GARDEN, 9)
    assert exams.match(near, "") == GARDEN
    assert exams.match("Go on.", FUNCTION) == FUNCTION.strip()
    assert exams.match(TALE, "12") == ""


def test_planted_8_gram_run_removed() -> None:
    """mechanisms §4, Tulu 3: over half of a problem in runs of 8 words, in a text too long to be its near-duplicate.

    The rule, a share of the test problem's tokens over 0.5, is the one of the released search script, which takes
    the size of the grams and the threshold as options.
    """
    exams = Exams([GARDEN])
    leak = exams.find(f"{TALE} {pieces_of(GARDEN, 9)} {TALE}", "12")
    assert leak is not None and leak.kind == "pieces" and leak.exam == GARDEN
    assert leak.span.startswith("rosa plants tulips along the northern wall of her …")
    assert "railway" not in leak.span and "otherwise" not in leak.span
    words = GARDEN.split()
    assert exams.find(f"{TALE} {pieces_of(' '.join(words[: len(words) * 4 // 10]), 9)}", "") is None, "under half"
    assert exams.find(f"{TALE} {pieces_of(GARDEN, PIECE - 3)} {TALE}", "") is None, "runs of five"


def test_the_tasks_wording_is_in_no_pieces() -> None:
    """Over half of each problem is the same words in all of them, and runs of 8 reach from there into its own."""
    wording = f"{TALE.partition('.')[0]}, and as you were told. Which of these words did the gardener say:"
    names = [f"{a}{b}{c}" for a in "aeiou" for b in "bdfglmnrst" for c in ("ba", "lo", "ri", "sum", "tek")]
    asked = [f"{wording} {' '.join(random.Random(n).choices(names, k=24))}?" for n in range(300)]
    exams = Exams(asked[:100])
    assert [problem for problem in asked[100:] if exams.find(problem, "")] == []
    leaks = [exams.find(f"{TALE} {pieces_of(problem[len(wording) :], 10)}", "") for problem in asked[:100]]
    assert all(match and match.kind == "pieces" for match in leaks)


@needs_data
def test_planted_leaks_are_caught() -> None:
    """Each kind in a clean row of its own: exact, one word changed, runs of 8, renamed variables."""
    held, luck = questions("gsm8k_test.jsonl")[:400], random.Random(3)
    code = [solution for solution in solutions() if subtrees(solution).total() >= 12]
    exams = Exams(held, code)
    changed = []
    for problem in held:
        words = problem.split()
        words[luck.randrange(len(words))] = "otherwise"
        changed.append(" ".join(words))
    long = [problem for problem in held if len(problem.split()) >= 30]
    assert all(exams.find(problem.upper(), "").kind == "same problem" for problem in held)  # type: ignore[union-attr]
    assert all(exams.find("Go on.", f"{TALE} {problem} {TALE}") for problem in held)
    found = [exams.find(problem, "") for problem in changed]
    assert sum(match is not None for match in found) >= 0.98 * len(held), (
        "a test item with one word changed is dropped"
    )
    pieces = [exams.find(f"{TALE} {pieces_of(problem, 10)} {TALE}", "") for problem in long]
    assert sum(match is not None for match in pieces) >= 0.95 * len(long)
    assert {match.kind for match in pieces if match} <= {"pieces", "run"}


@needs_data
def test_two_hundred_clean_look_alikes() -> None:
    """GSM8K's training problems against its test, and HumanEval's functions against its other half: 2 % at most."""
    code = solutions()
    exams = Exams(questions("gsm8k_test.jsonl"), code[::2])
    prose = random.Random(4).sample(questions("gsm8k_train.jsonl"), 118)
    flagged = [exams.find(problem, "So 12.") for problem in prose]
    flagged += [exams.find("Write a function.", f"```python\n{solution}\n```") for solution in code[1::2]]
    assert len(flagged) == 200
    assert sum(match is not None for match in flagged) <= 0.02 * len(flagged)
