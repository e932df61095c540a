"""Verifiers: programs that check a response. What one says is a check: of the answer, or of the working.

Nothing heavy is imported with this module (no torch, sympy, math_verify or reasoning_gym).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import combinations
from operator import add, le
from typing import Literal

from pydantic import BaseModel, ConfigDict

from loop.errors import ObjectiveError
from loop.working import (
    SIGNS,
    Group,
    Node,
    Number,
    Run,
    Side,
    Unreadable,
    evaluate,
    find_runs,
    given_numbers,
    judge,
    numbers_in,
    operations_in,
    show,
)

VERIFIERS = ("exact", "numeric", "choice", "regex", "math", "scorer")
"""What may check an answer; "scorer" is the function that a reasoning_gym task brings along."""

CLOSE = Fraction(1, 10**6)
"""Relative distance at which two numbers are the same number; see `_same_number`."""

FULL_MARKS = 1.0 - 1e-9
PATTERN_SECONDS = 1.0
LONGEST_SHOWN = 60

SCORER_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a task's scorer may raise over an answer it did not expect: a wrong answer, not a broken room."""


class Check(BaseModel):
    """What a verifier says about one response."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The verifier: "numeric", "equations", "grounding" ..."""
    verdict: Literal["passed", "failed", "absent"]
    """absent: there is nothing to check, such as no equation; a missing answer has failed."""
    detail: str = ""
    """For people: what was found against what was expected, or the first wrong step."""


def extract_answer(response: str, where: str = "####") -> str | None:
    r"""The answer of a response, stripped; None when it is not there or empty.

    `where`: "boxed", the last \boxed{...}; "tags", the last <answer>...</answer>; else a marker such as
    "####" or "A:", after the last of which the answer stands up to the end of the line. The last opening
    decides: one that is cut off is no answer, whatever stood before it. A marker that begins with a letter
    begins a word.
    """
    if where == "boxed":
        found = _braced(response.rpartition(r"\boxed{"))
    elif where == "tags":
        _, tag, rest = response.rpartition("<answer>")
        found = rest.partition("</answer>")[0] if tag and "</answer>" in rest else ""
    else:
        start = r"(?<!\w)" if where[:1].isalnum() else ""
        places = [match.start() for match in re.finditer(f"{start}(?={re.escape(where)})", response)]
        found = response[places[-1] + len(where) :].partition("\n")[0] if places else ""
    return found.strip() or None


def check_answer(
    verifier: str,
    response: str,
    answer: str,
    where: str = "####",
    scorer: Callable[[str], float] | None = None,
) -> Check:
    """Whether the answer found in the response is the right one, as one of VERIFIERS sees it.

    exact: equal but for spaces and Unicode form. numeric: the same plain number. choice: the same letter, or
    the option's text. regex: `answer` is a pattern and matches all of it. math: math-verify finds them equal,
    in a process that is killed after five seconds. scorer: `scorer` gives full marks; partial credit fails.
    Raises ValueError for another name, ObjectiveError for a pattern that is none.
    """
    if verifier not in VERIFIERS:
        raise ValueError(f"verifier {verifier!r} is not one of {', '.join(VERIFIERS)}")
    found = extract_answer(response, where)
    if found is None:
        return Check(name=verifier, verdict="failed", detail="no answer")
    if verifier == "scorer":
        return _check_score(found, scorer)
    compare = {"exact": _exact, "numeric": _numeric, "choice": _choice, "regex": _regex, "math": _math}[verifier]
    problem = compare(found, answer)
    if problem is None:
        return Check(name=verifier, verdict="passed", detail=_short(found))
    detail = f"{_short(found)} instead of {_short(answer)}" + (f": {problem}" if problem else "")
    return Check(name=verifier, verdict="failed", detail=detail)


def check_equations(response: str) -> Check:
    """Whether every equation of the text holds (to 1e-3, as RFT has it; arXiv 2308.01825)."""
    if (wrong := first_wrong_step(response)) is not None:
        return Check(name="equations", verdict="failed", detail=wrong)
    count = len(list(_steps(response)))
    return Check(name="equations", verdict="passed" if count else "absent", detail=f"{count} right" if count else "")


def first_wrong_step(response: str) -> str | None:
    """The first equation of the text that does not hold, with its right value: "7 - 2 = 6 (is 5)"."""
    return next((step for step, problem in _steps(response) if problem), None)


def _steps(response: str) -> Iterator[tuple[str, str]]:
    """Each equation that can be judged, and what is wrong with it or ""."""
    for run in find_runs(response):
        for left, right in run.pairs:
            if (problem := judge(left, right)) is not None:
                yield f"{left.text} = {right.text}" + (f" ({problem})" if problem else ""), problem


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _braced(parts: tuple[str, str, str]) -> str:
    """What stands before the brace that closes one opened already; empty when none does."""
    depth = 1
    for match in re.finditer(r"\\.|[{}]", parts[2], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return parts[2][: match.start()] if parts[1] else ""
    return ""


def _check_score(found: str, scorer: Callable[[str], float] | None) -> Check:
    if scorer is None:
        raise ValueError("verifier 'scorer' needs the task's scorer")
    try:
        score = float(scorer(found))
    except SCORER_ERRORS as error:
        return Check(name="scorer", verdict="failed", detail=f"{_short(found)}: the scorer raised {error!r}")
    return Check(
        name="scorer",
        verdict="passed" if score >= FULL_MARKS else "failed",
        detail=f"{_short(found)}: score {score:g}",
    )


def _exact(found: str, answer: str) -> str | None:
    """None when equal after Unicode NFC and with runs of spaces as one; case counts."""
    texts = {" ".join(unicodedata.normalize("NFC", text).split()) for text in (found, answer)}
    return None if len(texts) == 1 else ""


PLAIN_NUMBER = re.compile(
    r"=?\s*(?P<before>[-+]?)\s*[$€£¥]?\s*(?P<after>[-+]?)\s*"
    r"(?:(?:(?P<whole>[0-9]+)\s+)?(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+)"
    r"|(?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?))"
    r"(?P<unit>(?:[^\W\d_]|/(?=[^\W\d_]{2})|(?<=[^\W\d_])[-/](?=[^\W\d_])|[\s.,%$€£¥°²³'’\"()])*+)"
)
UNIT_LETTERS = frozenset("aghlms")
"""Lone letters after a number that are a unit or an article; another one makes it an expression."""

LONGEST_NUMBER = 1000
"""Characters; Python itself refuses 4,300 digits."""

MAGNITUDES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def read_number(text: str) -> Fraction | None:
    """The plain number that a text is, exactly; None for anything else, such as two numbers or an expression.

    Money signs, %, units, thousands commas and a last period are dropped, as GSM8K's graders do; 1/2, 2 1/2,
    1e3 and 5 million are read.
    """
    text = text.translate(SIGNS).strip(" *`_\n\t").replace("\\$", "$").replace("\\%", "%")
    match = PLAIN_NUMBER.fullmatch(text)
    if not match or len(text) - len(match["unit"]) > LONGEST_NUMBER or (match["before"] and match["after"]):
        return None
    word = match["unit"].split()[0].strip(".,()").lower() if match["unit"].split() else ""
    if len(word) == 1 and word.isalpha() and word not in UNIT_LETTERS:
        return None
    if match["top"]:
        if int(match["bottom"]) == 0:
            return None
        value = int(match["whole"] or 0) + Fraction(int(match["top"]), int(match["bottom"]))
    elif match["decimal"] and match["decimal"][0] not in "eE":
        value = Fraction(match["decimal"].replace(",", ""))
    else:
        return None
    return value * MAGNITUDES.get(word, 1) * (-1 if "-" in (match["before"], match["after"]) else 1)


def _numeric(found: str, answer: str) -> str | None:
    left, right = read_number(found), read_number(answer)
    if left is None or right is None:
        return "not a plain number"
    return None if _same_number(left, right) else ""


def _same_number(left: Fraction, right: Fraction) -> bool:
    """Two integers must be equal; else 1e-6 relative, and next to an integer 1e-6 absolute at most.

    That much is floating-point dust of a model's calculator (57.99999999999999), not a rounded answer.
    """
    if left.denominator == right.denominator == 1:
        return left == right
    reach = CLOSE * max(abs(left), abs(right))
    if 1 in (left.denominator, right.denominator):
        reach = min(reach, CLOSE)
    return abs(left - right) <= reach


OPTION = re.compile(
    r"(?:(?:the )?(?:correct |final )?(?:answer|option|choice) ?(?:is|:)? ?(?:option )?)?"
    r"(?:\((?P<bracketed>[a-z])\)|(?P<letter>[a-z])(?=[).:\]]|$| [-–—] ))[).:\]]* ?(?:[-–—] )?(?P<text>.*)",
    re.IGNORECASE,
)
ANOTHER_LETTER = re.compile(r"\b[A-HJ-Z]\b(?!')|\([A-Za-z]\)|\b[A-Za-z]\)|(?:^|\b(?:or|and)\b|[,/&])\W*[A-Za-z]\W*$")
"""A second letter in an option's text: alone as a capital, in parentheses, or at the end of a list."""


def read_choice(text: str) -> tuple[str, str]:
    """The option's letter in capitals and its text, either of them "": "(b) Paris." is ("B", "Paris")."""
    text = " ".join(unicodedata.normalize("NFC", text).strip(" *`_$\n\t").split()).rstrip(".")
    match = OPTION.fullmatch(text)
    return ((match["bracketed"] or match["letter"]).upper(), match["text"]) if match else ("", text)


def _choice(found: str, answer: str) -> str | None:
    """None when letter and text agree as far as both give them; naming another letter too is refused."""
    letter, text = read_choice(found)
    right_letter, right_text = read_choice(answer)
    if text and right_text:
        is_other_letter = letter and right_letter and letter != right_letter
        return None if text.casefold() == right_text.casefold() and not is_other_letter else ""
    if not letter or letter != right_letter:
        return ""
    return "two letters" if ANOTHER_LETTER.search(text) else None


def _regex(found: str, answer: str) -> str | None:
    import regex

    try:
        return None if regex.fullmatch(answer, found, timeout=PATTERN_SECONDS) else ""
    except TimeoutError:
        return "timed out"
    except regex.error as error:
        raise ObjectiveError(f"answer {answer!r} is not a regular expression: {error}") from error


def _math(found: str, answer: str) -> str | None:
    """None when math-verify says so; equal plain numbers are not worth asking it."""
    if _numeric(found, answer) is None:
        return None
    from loop.symbolic import compare

    return compare(found, answer)


COMMON = frozenset(
    Fraction(number)
    for numbers in (
        (
            0,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            10,
            12,
            16,
            20,
            24,
            25,
            30,
            31,
            36,
            52,
            60,
            100,
            360,
            365,
            366,
            1000,
            3600,
        ),
        ("0.01", "0.05", "0.1", "0.25", "0.5", "1.5"),
    )
    for number in numbers
)
"""Numbers that a word problem takes from the world: small counts, halves, coins, hours, days, ounces. Each is
an operand in 12 or more of GSM8K's 8,792 reference solutions to problems that lack it, or converts a unit."""

MOST_ORIGINS = 256
"""Ways to make one number of a working from the problem's numbers that are kept apart."""

LONGEST_CHAIN = 40
"""Terms of a sum or product beyond which its stretches are not listed."""

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
    for value in given_numbers(prompt):
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
