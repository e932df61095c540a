"""Labels by agreement: four of five, and nothing less."""

from __future__ import annotations

import pytest

from loop.labels import agreed_answer, labelled
from loop.records import Problem, Sample, digest


def samples(*answers: str, problem: str = "p", author: str = "self_instruct", finish: str = "stop") -> list[Sample]:
    known = Problem(
        id=problem, prompt=problem, answer="", skill="s", source=1, origin=(0, 0), author=author, parent="seed"
    )
    return [
        Sample(
            id=digest(problem, n),
            problem=known,
            response=f"So\n#### {answer}" if answer else "Hm.",
            finish=finish,
            prompt_tokens=1,
            completion_tokens=1,
        )
        for n, answer in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "agreed"),
    [
        (("7", "7", "7", "7", "8"), "7"),
        (("8", "7.0", "$7", "7", "7"), "7.0"),
        (("7", "7", "7", "8", "8"), ""),
        (("7", "7", "7", "7"), ""),
        (("7", "7", "7", "", ""), ""),
        (("7", "7", "7", "7", "", "7"), "7"),
        (("7", "7", "7", "7", "", ""), ""),
        (("red", "Red", "red", "red", "red"), "red"),
        (("red", "Red", "Red", "red", "red"), ""),
        ((), ""),
    ],
)
def test_four_of_five_independent_samples_agree(answers: tuple[str, ...], agreed: str) -> None:
    assert agreed_answer(samples(*answers), "####") == agreed


def test_a_sample_that_was_cut_off_has_no_vote() -> None:
    rows = [*samples("7", "7", "7", "7"), *samples("7", finish="length")]
    assert agreed_answer(rows, "####") == "7"
    assert agreed_answer([*rows[:3], *samples("7", "7", finish="length")], "####") == ""


def test_only_written_problems_without_an_answer_are_labelled() -> None:
    written, given = samples(*"77777"), samples(*"77777", problem="q", author="")
    found = labelled([*written, *given], ["A:", "####"])
    assert [row.problem.answer for row in found] == [*["7"] * 5, *[""] * 5]
    assert [row.id for row in found] == [row.id for row in (*written, *given)]
