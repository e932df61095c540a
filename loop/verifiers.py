"""Verifiers: programs that check a response. What one says is a check: of the answer, or of the working.

Nothing heavy is imported with this module (no torch, sympy, math_verify or reasoning_gym).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict

from loop.errors import ObjectiveError
from loop.working import (
    SIGNS,
    find_runs,
    judge,
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
