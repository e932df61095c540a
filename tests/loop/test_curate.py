"""What is admitted to training, what the mix is made of, and what gives an exam away."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.replies import CellShare, Mixture, Plan
from agents.strategies import Allotment, RejectionSampling
from loop.contamination import Exams
from loop.curate import admit, mix
from loop.objective import Demonstration, read_objective
from loop.records import Critique, Example, Problem, Sample, digest
from loop.repeats import Known
from loop.tasks import Tasks

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k_test.jsonl"
GARDEN = (
    "Rosa plants tulips along the northern wall of her garden and daffodils along the southern one. In spring she"
    " counts 48 flowers by the northern wall, three times as many as by the southern. A hailstorm on the second of"
    " May breaks a quarter of all the daffodils while the tulips, sheltered by an old yew hedge, stay whole. How many"
    " flowers does Rosa have left?"
)
"""A problem of 66 words."""


def sample(problem: str, response: str, strategy: str = "rejection_sampling") -> Sample:
    known = Problem(id=digest("problem", problem), prompt=problem, answer="", skill="s", source=0, origin=(0, 1))
    return Sample(
        id=digest(problem, response, strategy), problem=known, response=response, finish="stop",
        prompt_tokens=1, completion_tokens=1, strategy=strategy,
    )  # fmt: skip


def plan(**more: Any) -> Plan:
    strategy = RejectionSampling(allotments=(Allotment(skill="s", problems=1),), **more)
    return Plan(hypothesis="h", strategies=(strategy,))


def decide(
    samples: Sequence[Sample], keep: int = 1, exams: Sequence[str] = (), failed: Sequence[int] = (), **more: Any
) -> list[str]:
    """Why each sample that passed is not admitted, or ""."""
    critiques = [Critique(id=s.id, passed=i not in failed, reason="", checks=()) for i, s in enumerate(samples)]
    admissions = admit(3, plan(keep_per_problem=keep, **more), samples, critiques, Known(Exams(exams)))
    for admission in admissions:
        assert (admission.example is None) == bool(admission.reason)
        assert bool(admission.matched) == (admission.reason == "stands in an exam")
    assert [a.id for a in admissions] == [s.id for i, s in enumerate(samples) if i not in failed]
    return [admission.reason for admission in admissions]


# Admission.


def test_a_cap_a_problem() -> None:
    samples = [sample(problem, f"way {n}") for n in range(4) for problem in ("one", "two")]
    assert Counter(decide(samples, keep=3)) == {"": 6, "over the cap": 2}
    assert Counter(decide(samples)) == {"": 2, "over the cap": 6}
    assert Counter(decide(samples, keep=3, failed=[0])) == {"": 6, "over the cap": 1}, (
        "a failed sample takes no place"
    )


def test_same_equations_in_two_wordings_are_one_row() -> None:
    """mechanisms §7.2, RFT: same equations, two wordings, one row; of these the text farthest from what is kept."""
    samples = [
        sample("one", "She has 3 + 4 = 7 eggs.\n7 - 2 = 5\n#### 5"),
        sample("one", "3+4=7, and then 7-2=5 are left.\n#### 5"),
        sample("one", "4 - 2 = 2\n2 + 3 = 5\n#### 5"),
    ]
    assert sorted(decide(samples, keep=9)) == ["", "", "same path"] and decide(samples, keep=9)[2] == ""


def test_a_duplicate_is_the_same_working_of_the_same_problem() -> None:
    samples = [
        sample("one", "1 + 1 = 2"),
        sample("one", " 1 + 1\n= 2 "),
        sample("two", "1 + 1 = 2"),
        sample("one", "2"),
    ]
    assert decide(samples, keep=9) == ["", "duplicate", "", ""]


def test_a_cap_a_strategy() -> None:
    samples = [sample(f"problem {n}", "way") for n in range(5)]
    assert decide(samples, most_rows=3) == ["", "", "", "over the cap", "over the cap"]


def test_where_all_attempts_agree_there_is_nothing_to_learn() -> None:
    """mechanisms §9.3: select for spread."""
    samples = [sample(problem, f"way {n}") for n in range(3) for problem in ("easy", "hard")] + [
        sample("once", "way")
    ]
    of_hard = 1
    drawn = decide(samples, keep=9, failed=[of_hard], skip_solved=True)
    assert drawn == ["solved by all", "solved by all", "", "solved by all", "", ""]
    assert set(decide(samples, keep=9, failed=[of_hard])) == {""}


def test_an_example_says_where_it_came_from() -> None:
    one = sample("one", " 1 + 1 = 2\n")
    critique = Critique(id=one.id, passed=True, reason="", checks=())
    (admission,) = admit(3, plan(), [one], [critique], Known(Exams(())))
    example = admission.example
    assert example is not None
    assert (example.prompt, example.response, example.origin, example.round) == ("one", "1 + 1 = 2", one.id, 3)
    assert (example.skill, example.copies, example.strategy) == ("s", 1, "rejection_sampling")


def test_nothing_of_an_exam_is_admitted() -> None:
    quoting = sample("How many tulips?", f"It is like this one: {GARDEN} So 12.")
    samples = [sample(GARDEN.upper(), "15"), quoting, sample("Another.", "15")]
    assert decide(samples, exams=[GARDEN]) == ["stands in an exam", "stands in an exam", ""]


# Contamination.


def test_a_match_shows_its_text() -> None:
    exams = Exams([GARDEN, "What is 2 + 2 ?"])
    assert exams.match("what  is 2 + 2 ?", "4") == "what  is 2 + 2 ?"
    assert exams.match("What is 2 + 3 ?", "5") == ""
    shown = exams.match("Go on.", "Think: " + " ".join(GARDEN.split()[8:24]))
    assert shown == "her garden and daffodils along the southern one . in spring she counts"
    assert exams.match("Go on.", " ".join(GARDEN.split()[8:19])) == "", "twelve words"


def test_a_long_problem_with_words_changed_is_found() -> None:
    luck = random.Random(0)
    for changes in (1, 3):
        for _ in range(20):
            words = GARDEN.split()
            for place in luck.sample(range(len(words)), changes):
                words[place] = "otherwise"
            assert Exams([GARDEN]).match(" ".join(words), "") != "", words


def test_a_near_duplicate_without_a_run_is_found() -> None:
    """A word replaced in every ten leaves no run of 13; one in six replaced is another problem."""

    def replaced(each: int) -> str:
        return " ".join("otherwise" if n % each == 2 else word for n, word in enumerate(GARDEN.split()))

    exams = Exams([GARDEN])
    assert exams.match(replaced(10), "So 12.") == GARDEN
    assert exams.match("Go on.", replaced(10)) == GARDEN, "as a response"
    assert exams.match(replaced(6), "") == ""
    short = "Rosa has 48 tulips and gives 12 of them away. How many are left?"
    assert Exams([short]).match(short.replace("12", "13"), "") == "", "another of its kind"


def test_the_tasks_own_wording_is_no_match() -> None:
    wording = "Read all of this with care before you answer, and write nothing below it but a number: how much is"
    exams = Exams(f"{wording} {n} + {n + 1}?" for n in range(50))
    assert exams.match(f"{wording} 7 + 8?", "15") != ""
    assert [n for n in range(50, 150) if exams.match(f"{wording} {n} + {n + 1}?", f"{wording}: {2 * n + 1}")] == []


@pytest.mark.parametrize(
    "source",
    [
        "chain_sum, config: {min_digits: 1, max_digits: 1}, sweep: {terms: [2, 8]}",
        "leg_counting",
        "family_relationships",
    ],
)
def test_a_generators_practice_is_not_taken_for_its_exams(source: str, tmp_path: Path) -> None:
    """Its problems differ by a few numbers or names, which some exam problem always shares."""
    (tmp_path / "OBJECTIVE.md").write_text(
        f"---\nstudent: scripted/x\ntasks:\n  practice: [{{source: reasoning_gym/{source}}}]\n"
        "  dev: {from: practice, size: 150}\n  test: {from: practice, size: 250}\nbudget: {rounds: 1}\n---\nx\n"
    )
    tasks = Tasks(read_objective(tmp_path / "OBJECTIVE.md"), [])
    exams = Exams(problem.prompt for problem in (*tasks.dev, *tasks.test))
    assert all(exams.match(problem.prompt, "") for problem in tasks.dev)
    practice = [p for cell in tasks.practice for p in tasks.draw(cell, 30, 500_000, ())]
    matched = [p.prompt for p in practice if exams.match(p.prompt, p.answer)]
    assert len(matched) <= 0.01 * len(practice), matched[:3]


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K is not beside the checkout")
def test_published_problems_are_found_where_they_are_planted() -> None:
    asked = [json.loads(line)["question"] for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    held, other = asked[:600], asked[600:]
    exams, luck = Exams(held), random.Random(0)
    assert all(exams.match("Go on.", f"As in: {problem} Now") for problem in held)
    changed = [problem.split() for problem in held]
    for words in changed:
        words[luck.randrange(len(words))] = "otherwise"
    assert sum(bool(exams.match(" ".join(words), "")) for words in changed) >= 0.98 * len(changed)
    assert sum(bool(exams.match(problem, "")) for problem in other) <= 0.005 * len(other)


# The mix.


def example(number: int, level: int | None = None, round_number: int = 1) -> Example:
    return Example(
        id=digest("example", number), prompt=f"p{number}", response="r", origin="o", round=round_number, skill="s",
        level=level,
    )  # fmt: skip


def weigh(rows: Sequence[Example], newest: int) -> float:
    """The share of round `newest` in the mix, copies counted."""
    return sum(row.copies for row in rows if row.round == newest) / sum(row.copies for row in rows)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.123])
@pytest.mark.parametrize("counts", [(10, 0, 100), (7, 15, 23), (1, 0, 1), (300, 500, 20), (3, 4, 7), (9, 0, 0)])
def test_no_more_than_its_share_is_newest(counts: tuple[int, int, int], share: float) -> None:
    taught, before, new = counts
    demonstrations = [Demonstration(prompt=f"d{n}", response="r") for n in range(taught)]
    earlier, newest = [example(n) for n in range(before)], [example(n, round_number=2) for n in range(900, 900 + new)]
    rows = mix(demonstrations, earlier, newest, Mixture(newest=share))
    assert weigh(rows, 2) <= share
    assert len(rows) == taught + before + new and {row.copies for row in rows if row.round == 2} <= {1}
    (copies,) = {row.copies for row in rows if row.round < 2}
    if copies > 1:  # one copy fewer would have been too few
        assert new / (new + (copies - 1) * (taught + before)) > share


def test_half_is_half() -> None:
    demonstrations = [Demonstration(prompt=f"d{n}", response="r") for n in range(20)]
    assert weigh(mix(demonstrations, [], [example(n, round_number=2) for n in range(60)], Mixture()), 2) == 0.5


def test_check_newest_share_is_half_over_10_000_draws() -> None:
    """mechanisms §7.1: 0.5 ± 0.02, rows drawn as often as they stand there; over four rounds that accumulate.

    §9.1 sets a bound, and we keep it: where whole copies do not come to a half it is less, and never more.
    """
    luck = random.Random(0)
    demonstrations = [Demonstration(prompt=f"d{n}", response="r") for n in range(60)]
    earlier: list[Example] = []
    for number, count in enumerate((120, 180, 360, 1440), 1):
        newest = [example(10_000 * number + n, round_number=number) for n in range(count)]
        rows = mix(demonstrations, earlier, newest, Mixture())
        drawn = luck.choices(rows, [row.copies for row in rows], k=10_000)
        assert sum(row.round == number for row in drawn) / 10_000 == pytest.approx(0.5, abs=0.02)
        assert {row.round for row in drawn} == set(range(number + 1)), (
            "data accumulate, and the base is never dropped"
        )
        earlier += newest


def test_the_demonstrations_hold_their_share() -> None:
    demonstrations = [Demonstration(prompt=f"d{n}", response="r") for n in range(20)]
    earlier, newest = [example(n) for n in range(300)], [example(n, round_number=2) for n in range(900, 1000)]
    for share in (0.1, 0.3, 0.5):
        rows = mix(demonstrations, earlier, newest, Mixture(anchor=share))
        assert share <= weigh(rows, 0) < share + 0.05 and weigh(rows, 2) <= 0.5
    assert weigh(mix(demonstrations, earlier, newest, Mixture()), 0) == 20 / 420


def test_earlier_rows_are_rehearsed_by_their_share_and_demonstrations_always() -> None:
    demonstrations = [Demonstration(prompt=f"d{n}", response="r", skill="s", level=2) for n in range(10)]
    earlier = [example(n, level) for level in (1, 2, 3) for n in range(1000 * level, 1000 * level + 400)]

    def rehearse(share: float) -> tuple[Counter[object], set[str]]:
        cells = (CellShare(skill="s", level=1, share=share), CellShare(skill="s", level=2, share=0))
        rows = mix(demonstrations, earlier, [], Mixture(rehearse=cells))
        assert sum(row.origin == "demonstration" for row in rows) == 10
        kept = [row for row in rows if row.origin != "demonstration"]
        return Counter(row.level for row in kept), {row.id for row in kept}

    counts, ids = rehearse(0.25)
    assert counts[3] == 400 and counts[2] == 0 and 75 <= counts[1] <= 125
    assert ids == rehearse(0.25)[1] and ids < rehearse(0.5)[1], "the same rows each round, and more of them for more"
    assert rehearse(1.0)[0][1] == 400 and rehearse(0.0)[0][1] == 0
