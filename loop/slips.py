"""Slips: in which way an attempt went wrong, in phrases that attempts which share a way have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from agents.briefs import Evidence
from loop.grounding import check_grounding
from loop.verifiers import first_wrong_step, read_number
from loop.working import Number, Side, Unreadable, evaluate, find_runs, judge, numbers_in, operations_in, show

OPERATIONS = {("sum", 1): "adds", ("sum", -1): "subtracts", ("product", 1): "multiplies", ("product", -1): "divides"}
FACTORS = {Fraction(n): word for n, word in ((2, "twice"), (3, "three times"), (12, "12 times"), (60, "60 times"))}
"""Ratios of a wrong result to the right one that have a cause: a doubling forgotten, months, minutes."""
TELLING = 5
"""A gap below this one is that of some number of the problem by luck."""
AGAIN = 3
"""So often the same line, and the response goes in circles."""
SETTING = frozenset(
    ("cut off", "no answer", "wrong format", "wrong step", "wrong answer", *OPERATIONS.values(), "carries", "borrows",
     "below zero", "no whole number", "1-digit numbers", "2-digit numbers", "3-digit numbers", "longer numbers",
     "no step", "one step", "two steps", "several steps", "off by less than 10", "far off")
)  # fmt: skip
"""Phrases that wrong attempts share without a common cause: alone they make no failure mode."""


@dataclass(frozen=True)
class Slip:
    """What programs can tell of one wrong attempt."""

    signs: tuple[str, ...]
    """Phrases that tell of a cause, such as "off by 10" or "a term left out"."""
    setting: tuple[str, ...] = ()
    """Phrases that tell where it happened, the kind first: "carries", "below zero", "several steps"."""
    step: str = ""
    """The first wrong step: the first equation that does not hold, or else the first that is not of this problem."""


def slip_of(attempt: Evidence, found: str | None) -> Slip:
    """The signs of a wrong attempt, and its first wrong step. `found` is the answer it came to, None where none is.

    A false equation tells of itself alone. Where all that is written holds, the signs tell how the answer lies to the
    working, to the problem and to the right answer.
    """
    for left, right in _equations(attempt.response):
        if judge(left, right):
            step = first_wrong_step(attempt.response) or ""
            return _slip([attempt.kind, *_of_equation(left, right)], step)
    grounding = check_grounding(attempt.prompt, attempt.response)
    step = grounding.detail if grounding.verdict == "failed" else ""
    phrases = [attempt.kind, *_of_grounding(step), *_of_response(attempt.response)]
    if found is not None:
        phrases += _of_answer(found, attempt)
    return _slip(phrases, step)


def _slip(phrases: list[str], step: str) -> Slip:
    told = dict.fromkeys(phrases)
    return Slip(tuple(p for p in told if p not in SETTING), tuple(p for p in told if p in SETTING), step)


def _equations(text: str) -> Iterator[tuple[Side, Side]]:
    return (pair for run in find_runs(text) for pair in run.pairs)


def _of_equation(left: Side, right: Side) -> Iterator[str]:
    """What a false equation looks like: its operation, its numbers, and how far off its result is."""
    left, right = (left, right) if left.computes else (right, left)
    groups = list(operations_in(left.tree))
    signs = [(group.kind, sign) for group in groups for sign, _ in group.parts[1:]]
    yield from dict.fromkeys(OPERATIONS[sign] for sign in signs)
    numbers = [number.value for number in numbers_in(left.tree)]
    with suppress(ZeroDivisionError, Unreadable):
        true, said = evaluate(left.tree), evaluate(right.tree)
        if len(numbers) == 2:
            yield from _of_two(numbers, signs[0], true, said)
        yield from _of_gap(said, true)
        if true < 0:
            yield "below zero"
        if true.denominator > 1:
            yield "no whole number"
        longest = max(len(str(abs(int(number)))) for number in numbers)
        yield f"{longest}-digit numbers" if longest < 4 else "longer numbers"


def _of_two(numbers: list[Fraction], sign: tuple[str, int], true: Fraction, said: Fraction) -> Iterator[str]:
    """Signs of an equation of two numbers: what else its result may be, and whether it carries."""
    one, other = numbers
    results = {"adds": one + other, "subtracts": one - other, "multiplies": one * other}
    for word, value in results.items():
        if word != OPERATIONS[sign] and value == said and min(abs(one), abs(other)) > 2:  # 2 + 2 is 2 * 2
            yield f"as if it {word}"
    if {one.denominator, other.denominator, true.denominator} == {1} and sign[0] == "sum":
        low, high = sorted((abs(one), abs(other)))
        if (one < 0) == (sign[1] * other < 0):
            yield from ["carries"] * (high % 10 + low % 10 > 9)
        else:
            yield from ["borrows"] * (high % 10 < low % 10)


def _of_gap(said: Fraction, true: Fraction) -> Iterator[str]:
    """How far what was said is from what is true."""
    gap = said - true
    if gap == 0:
        return
    if said == -true:
        yield "sign turned"
    elif abs(gap) in (1, 10, 100, 1000):
        yield f"off by {show(abs(gap))}"
    elif true and said and max(abs(true), abs(said)) >= 20 and (word := _factor(said / true)):
        yield word
    elif said.denominator == true.denominator == 1 and sorted(str(said)) == sorted(str(true)):
        yield "digits swapped"
    else:
        yield "off by less than 10" if abs(gap) < 10 else "far off"


def _factor(ratio: Fraction) -> str:
    """The ratio in words, where it has a cause that goes by a name."""
    for value in (ratio, 1 / ratio):
        of = "" if value == ratio else " too little"
        if value in FACTORS:
            return FACTORS[value] + of
        if value in (10, 100, 1000):
            return f"{value} times{of}"
    return ""


def _of_grounding(problem: str) -> Iterator[str]:
    """What grounding found of a working in which every equation holds."""
    if problem.startswith("never used"):
        yield "a term left out" if "," not in problem else "terms left out"
    elif problem.endswith("comes from nowhere"):
        yield "a number from nowhere"
    elif problem:
        yield "a step of another problem"


def _of_response(response: str) -> Iterator[str]:
    """Whether it repeats itself, how many steps it has, and of what operations."""
    lines = [line.strip() for line in response.splitlines() if line.strip()]
    if lines and max(map(lines.count, set(lines))) >= AGAIN:
        yield "goes in circles"
    steps = [(left if left.computes else right) for left, right in _equations(response)]
    yield ("no step", "one step", "two steps")[len(steps)] if len(steps) < 3 else "several steps"
    signs = {(g.kind, sign) for side in steps for g in operations_in(side.tree) for sign, _ in g.parts[1:]}
    yield from (word for sign, word in OPERATIONS.items() if sign in signs)


def _of_answer(found: str, attempt: Evidence) -> Iterator[str]:
    """How a wrong answer lies to the working, to the numbers of the problem and to the right answer."""
    said, right = read_number(found), read_number(attempt.answer)
    if said is None or right is None:
        yield from _of_text(found, attempt.answer) if right is None else ("the answer is no number",)
        return
    results = [right.tree.value for _, right in _equations(attempt.response) if isinstance(right.tree, Number)]
    given = [number.value for run in find_runs(attempt.prompt) for side in run.sides if side
             for number in numbers_in(side.tree)]  # fmt: skip
    if right in results:
        yield "the right answer stands in the working"
    if results and said != results[-1]:
        yield "not the last result" if said in results else "no result of the working"
    elif not results and said in given:
        yield "a number of the problem"
    if (gap := abs(said - right)) >= TELLING and gap in map(abs, given):
        yield "off by a number of the problem"
    elif gap >= TELLING and gap / 2 in map(abs, given):
        yield "off by twice a number of the problem"
    yield from _of_gap(said, right)


def _of_text(found: str, right: str) -> Iterator[str]:
    """How an answer that is no number differs from the right one."""
    if len(found) != len(right):
        yield "too short" if len(found) < len(right) else "too long"
        if len(right) < 40 and any(found == "".join(kept) for kept in combinations(right, len(right) - 1)):
            yield "one sign left out"
    elif sorted(found) == sorted(right):
        yield "right signs, other order"
    else:
        wrong = sum(a != b for a, b in zip(found, right, strict=True))
        yield "one sign wrong" if wrong == 1 else "several signs wrong"
