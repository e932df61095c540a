"""Routing among teachers: fixed, by reward, learned; with teachers that count how often they are asked."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.talk import Answer, Message, Question
from loop.arbitration import (
    LEAST,
    Answered,
    LearnedRouter,
    Outcome,
    RewardRouter,
    Router,
    fixed_router,
    keep_best,
    learned_router,
)
from loop.files import as_line
from loop.records import Problem, digest

ROOT = Path(__file__).parents[2]
TEACHERS = ("algebra", "cooking", "history")
WORDS = {
    "algebra": "solve equation variable x sum factor root integer polynomial".split(),
    "cooking": "recipe oven cups flour bake sugar butter minutes dough".split(),
    "history": "king war treaty century empire year revolution parliament crown".split(),
}
FILLER = "the of and how many what which is are there in a for with find please".split()


def problem(topic: str, number: int, cell: str = "all") -> Problem:
    lot = random.Random(f"{topic} {number}")
    words = lot.sample(WORDS[topic], 3) + lot.sample(FILLER, 6) + [str(lot.randint(1, 99))]
    prompt = " ".join(lot.sample(words, len(words)))
    return Problem(id=digest(prompt), prompt=prompt, answer="", skill=cell, level=None, source=0, origin=(0, number))


def worth(topic: str, teacher: str, number: int) -> float:
    """Right in four of five answers on a teacher's own topic, in one of five elsewhere."""
    return float(random.Random(f"{topic} {teacher} {number}").random() < (0.8 if topic == teacher else 0.2))


def outcomes(numbers: range, cell: str = "all") -> list[Outcome]:
    return [
        Outcome(problem(topic, n, cell), teacher, worth(topic, teacher, n))
        for n in numbers
        for topic in TEACHERS
        for teacher in TEACHERS
    ]


class Teacher:
    """A talker that counts what it is asked."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.asked: list[str] = []

    def ask(self, question: Question) -> Answer:
        prompt = question.messages[-1].content
        self.asked.append(prompt)
        known = len(set(prompt.split()) & set(WORDS[self.model]))
        return Answer(f"{self.model} {known}", "stop", 1, 1)


def answer_all(router: Router, problems: Sequence[Problem]) -> tuple[list[Answered], Counter[str]]:
    """Every problem put to the teachers that the router names, and how often each was asked."""
    teachers = {name: Teacher(name) for name in TEACHERS}
    answers = []
    for each in problems:
        for name in router.route(each):
            text = teachers[name].ask(Question((Message("user", each.prompt),))).text
            answers.append(Answered(digest(each.id, name), each.id, name, text, float(text.split()[1])))
    return answers, Counter({name: len(teacher.asked) for name, teacher in teachers.items()})


FRESH = [(topic, problem(topic, n)) for n in range(1000, 1100) for topic in TEACHERS]


@pytest.mark.parametrize("problems", [100, 400])
def test_check_the_learned_router_makes_one_teacher_call_per_prompt(problems: int) -> None:
    """With fewer answers than BUCKETS, and with more."""
    router = learned_router(outcomes(range(problems)), TEACHERS, seed=0)
    answers, asked = answer_all(router, [each for _, each in FRESH])
    assert asked.total() == len(answers) == len(FRESH)
    assert not router.note
    right = sum(router.route(each) == (topic,) for topic, each in FRESH)
    assert right / len(FRESH) > 0.95, "it tells the teacher from the prompt's words alone"
    same_cell = fixed_router(outcomes(range(problems)), TEACHERS, 0)
    assert sum(same_cell.route(each) == (topic,) for topic, each in FRESH) == len(FRESH) / 3


def test_by_reward_all_are_asked_and_the_best_answer_is_kept() -> None:
    answers, asked = answer_all(RewardRouter(teachers=TEACHERS), [each for _, each in FRESH])
    assert asked == dict.fromkeys(TEACHERS, len(FRESH))
    best = keep_best(answers)
    assert {best[each.id].teacher == topic for topic, each in FRESH} == {True}
    assert keep_best(reversed(answers)) == best


def test_ties_go_by_digest_not_by_teacher_nor_by_order() -> None:
    answers = [Answered(f"{p} {t}", f"{p}", t, f"answer of {t}", 1.0) for p in range(300) for t in TEACHERS]
    best = keep_best(answers)
    assert keep_best(reversed(answers)) == best
    assert all(70 < count < 130 for count in Counter(answer.teacher for answer in best.values()).values())


def test_the_fixed_router_goes_by_cell_and_tries_whom_it_does_not_know_before_one_who_fails() -> None:
    one, two, other = (problem("algebra", n, cell) for n, cell in enumerate(["one", "two", "other"]))
    seen = [Outcome(one, "algebra", 1.0)] * 5 + [Outcome(one, "cooking", 0.0)] * 5 + [Outcome(two, "algebra", 0.0)]
    router = fixed_router(seen, ("algebra", "cooking"), seed=0)
    assert router.route(one) == ("algebra",)
    assert router.route(two) == ("cooking",)
    assert router.route(other) == (router.otherwise,) == ("algebra",)
    assert len({fixed_router([], TEACHERS, seed).otherwise for seed in range(20)}) == 3, "who is unknown goes by lot"
    with pytest.raises(ValueError, match="no teacher"):
        fixed_router([], (), 0)


def test_with_few_answers_the_learned_router_is_the_fixed_one_and_says_so() -> None:
    rows = [row for row in outcomes(range(40)) if row.teacher != "history"]
    rows += [row for row in outcomes(range(40)) if row.teacher == "history"][: LEAST - 1]
    router = learned_router(rows, TEACHERS, seed=0)
    assert router.note == f"history has {LEAST - 1} scored answers, fewer than {LEAST}: teachers go by cell"
    assert all(router.route(each) == router.fallback.route(each) for _, each in FRESH)
    assert router.answers == len(rows)


def test_the_same_outcomes_give_the_same_router_in_any_order_and_process() -> None:
    rows = outcomes(range(20))
    router = learned_router(rows, TEACHERS, seed=3)
    assert learned_router(random.Random(0).sample(rows, len(rows)), TEACHERS, seed=3) == router
    assert LearnedRouter.model_validate_json(as_line(router)) == router
    code = (
        "from tests.loop.test_arbitration import *\n"
        "print(as_line(learned_router(outcomes(range(20)), TEACHERS, seed=3)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert said.stdout.strip() == as_line(router), said.stderr


def test_numpy_is_not_loaded_with_the_module() -> None:
    code = "import sys, loop.arbitration; print('numpy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout
        == "False\n"
    )
