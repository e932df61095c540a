"""Grounding: does a working use what its problem gives? It takes no part in the decision: it measures the filter."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from itertools import combinations
from operator import add, le

from loop.verifiers import Check
from loop.working import (
    LONGEST_NUMBER,
    TOKEN,
    Group,
    Node,
    Number,
    Run,
    Side,
    Unreadable,
    evaluate,
    find_runs,
    numbers_in,
    operations_in,
    plain,
    show,
    unit_of,
)

COMMON = frozenset(
    map(
        Fraction,
        "0 1/100 1/20 1/10 1/4 1/2 1 3/2 2 3 4 5 6 7 8 10 12 16 20 24 25 30 31 36 52"
        " 60 100 360 365 366 1000 3600".split(),
    )
)
"""Numbers that a word problem takes from the world: small counts, halves, coins, hours, days, ounces. Each is
an operand in 12 or more of GSM8K's 8,792 reference solutions to problems that lack it, or converts a unit."""

MOST_ORIGINS = 256
"""Ways to make one number of a working from the problem's numbers that are kept apart."""

LONGEST_CHAIN = 40
"""Terms of a sum or product beyond which its stretches are not listed."""

ONES = (
    "zero one|once two|twice|both|double|pair|couple three|triple|thrice|triplets four|quadruple five six "
    "seven eight nine ten eleven twelve|dozen thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety hundred"
WORD_NUMBERS = {
    **{word: Fraction(value) for value, words in enumerate(ONES.split()) for word in words.split("|")},
    **{word: Fraction(10 * value) for value, word in enumerate(TENS.split())},
    **{"thousand": Fraction(10**3), "million": Fraction(10**6), "billion": Fraction(10**9)},
}

Origin = tuple[int, ...]
"""Which of the problem's numbers a value is made of: how often each is added, then how often subtracted."""


def check_grounding(prompt: str, response: str) -> Check:
    """Whether the working is about this problem; looks neither at the answer nor at whether equations hold.

    Every operand must be a number of the prompt or a result of an earlier equation (in a = b = c also a
    stretch of the side before). How strictly depends on the prompt:

    - One arithmetic expression with all of the prompt's numbers in it, such as "4 - 1 - 7 =". Each result is
      traced to the terms it is made of: none may be in it more often than in the problem, and the last
      equation must use them all. In sums and differences signs count: 1 + 7 = 8 and 4 - 8 = -4 compute
      4 - 1 - 7, while 4 + 1 = 5 is no part of it. With a product in the problem only the numbers count.
    - Words around the numbers. A number may be used twice or never, be written in words, and p % may be
      p / 100, or what is left of or added to the whole; results may come without an equation; COMMON numbers
      need no origin. So a small number from nowhere passes, and a step done in the head fails.

    Absent when there is no equation.
    """
    runs = find_runs(response)
    if not any(run.pairs for run in runs):
        return Check(name="grounding", verdict="absent")
    origins = _origins(prompt)
    problem = next((found for run in runs if (found := origins.take(run))), "") or origins.unused()
    return Check(name="grounding", verdict="failed" if problem else "passed", detail=problem)


def _origins(prompt: str) -> Origins:
    runs = find_runs(prompt)
    sides = [side for side in runs[0].sides if side] if len(runs) == 1 else []
    if len(sides) == 1 and sides[0].computes and len(numbers_in(sides[0].tree)) == runs[0].numbers:
        signed = all(group.kind == "sum" for group in operations_in(sides[0].tree))
        return Origins(terms_of(sides[0].tree, signed), signed)
    loose = set(COMMON)
    for value in _given_numbers(prompt):
        loose |= {value, value / 100, value * 100, 1 - value / 100, 1 + value / 100, 100 - value, 100 + value}
    return Origins([], False, frozenset(abs(value) for value in loose))


def terms_of(node: Node, signed: bool, sign: int = 1) -> list[Fraction]:
    """The numbers of a tree, with the signs they have in a sum if `signed`: 4 - (1 - 7) is 4, -1, 7."""
    if isinstance(node, Number):
        return [sign * node.value if signed else abs(node.value)]
    return [term for part_sign, part in node.parts for term in terms_of(part, signed, sign * part_sign)]


class Origins:
    """What the numbers of a working are made of, as far as it has been read.

    `terms` are the numbers of a problem that is one expression, `signed` if it only adds and subtracts. A
    problem in words has none; its numbers are `loose`, and every value has the same empty origin. Zeros need
    no origin.
    """

    def __init__(self, terms: list[Fraction], signed: bool, loose: frozenset[Fraction] = frozenset()) -> None:
        self._index = {value: at for at, value in enumerate(dict.fromkeys(abs(term) for term in terms if term))}
        self._whole = tuple(terms.count(sign * value) for sign in (1, -1) for value in self._index)
        self._signed = signed
        self._loose = loose
        self._results: dict[Fraction, set[Origin]] = {}
        self._last: set[Origin] = {self._whole}

    def take(self, run: Run) -> str:
        """Read the next equation; returns what is wrong with it, or ""."""
        stretches: dict[Fraction, set[Origin]] = {}
        found: set[Origin] = set() if self._index else {()}
        bare: list[Fraction] = []
        before: Side | None = None
        for side in run.sides:
            if side and side.computes and run.pairs:
                stretches = self._stretches(before.tree, stretches) if before else {}
                found = self._make(side.tree, 1, stretches)
                if not found:
                    return self._complaint(side, stretches)
                self._last, before = found, side
            elif side and isinstance(side.tree, Number):
                bare.append(side.tree.value)
            if found:
                for value in bare:
                    self._results.setdefault(self._key(value), set()).update(found)
                bare = []
        return ""

    def unused(self) -> str:
        """Which terms the last equation is not made of, in words; "" when it has them all."""
        if self._whole in self._last:
            return ""
        most = max(sorted(self._last), key=sum)
        names = [sign + show(value) for sign in ("", "-") for value in self._index]
        rest = [name for name, has, whole in zip(names, most, self._whole, strict=True) if has < whole]
        return "never used: " + ", ".join(rest)

    def _key(self, value: Fraction) -> Fraction:
        return value if self._signed else abs(value)

    def _sources(self, value: Fraction, stretches: dict[Fraction, set[Origin]]) -> set[Origin]:
        """All that an operand may be made of; empty when it comes from nowhere."""
        key = self._key(value)
        found = self._results.get(key, set()) | stretches.get(key, set())
        if self._signed:
            found |= set(map(_opposite, self._results.get(-key, set()) | stretches.get(-key, set())))
        if key in self._loose:
            found.add(())
        if key == 0:
            found.add((0,) * len(self._whole))
        elif (at := self._index.get(abs(key))) is not None:
            one = tuple(int(place == at) for place in range(len(self._whole)))
            found.add(one if key >= 0 else _opposite(one))
        return found

    def _make(self, node: Node, sign: int, stretches: dict[Fraction, set[Origin]]) -> set[Origin]:
        """All that a tree taken `sign` times may be made of; empty when it is no part of the problem."""
        if isinstance(node, Number):
            found = self._sources(node.value, stretches)
            if node.percent:
                found = found | self._sources(node.value / 100, stretches)
            return set(map(_opposite, found)) if sign < 0 else found
        if self._signed and node.kind == "product" and len(node.parts) > 1:
            return set()
        found = {(0,) * len(self._whole)}
        for part_sign, part in node.parts:
            more = self._make(part, sign * part_sign if self._signed else 1, stretches)
            joined = {tuple(map(add, left, right)) for left in found for right in more}
            found = set(sorted(filter(self._fits, joined))[:MOST_ORIGINS])
        return found

    def _fits(self, origin: Origin) -> bool:
        """Whether these are some of the problem's terms, or the opposite of some."""
        return all(map(le, origin, self._whole)) or (self._signed and all(map(le, _opposite(origin), self._whole)))

    def _stretches(self, tree: Node, before: dict[Fraction, set[Origin]]) -> dict[Fraction, set[Origin]]:
        """The values of a side's stretches, which the next side may write instead: 4 - 1 - 7 = 3 - 7."""
        found: dict[Fraction, set[Origin]] = {}
        for group in operations_in(tree):
            count = len(group.parts) if len(group.parts) <= LONGEST_CHAIN else 0
            for begin, end in combinations(range(count + 1), 2):
                stretch = Group(group.kind, group.parts[begin:end])
                with suppress(ZeroDivisionError, Unreadable):
                    key = self._key(evaluate(stretch))
                    found.setdefault(key, set()).update(self._make(stretch, 1, before))
        return found

    def _complaint(self, side: Side, stretches: dict[Fraction, set[Origin]]) -> str:
        for number in numbers_in(side.tree):
            if not self._sources(number.value, stretches):
                return f"{side.text}: {show(number.value)} comes from nowhere"
        return f"{side.text}: no part of the problem"


def _opposite(origin: Origin) -> Origin:
    half = len(origin) // 2
    return origin[half:] + origin[:half]


def _given_numbers(text: str) -> list[Fraction]:
    """Every number that a text gives, in digits or in words, in order."""
    found: list[Fraction] = []
    for match in TOKEN.finditer(plain(text)):
        if match.lastgroup in ("odd", "number"):
            digits = re.findall(r"[0-9]*\.?[0-9]+", match[0].replace(",", ""))
            found.extend(Fraction(number) for number in digits if len(number) <= LONGEST_NUMBER)
        elif (word := unit_of(match[0])) in WORD_NUMBERS:
            found.append(WORD_NUMBERS[word])
    return found
