"""The scripted critic: checks the sums of a response, and errs over a few problems.

Whether it errs hangs on the problem, and on the seed where there is a temperature; never on what a response says.
"""

from __future__ import annotations

import hashlib
import json
import re
from fractions import Fraction

from agents.talk import Question

ERRS = 4
"""Of a hundred verdicts, those that say the opposite."""
RAMBLES = 3
"""Of a hundred first answers, those that are no JSON; asked again, it writes some."""

SUM = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?(?: *[-+*/] *-?\d+(?:\.\d+)?)*) *=(?: *\$?(-?\d+(?:\.\d+)?))?(?![.\d])")
TERM = re.compile(r"([-+*/]?) *(-?\d+(?:\.\d+)?) *")


def answer(question: Question) -> str:
    """What the critic writes, from the prompt's JSON strings alone; "" for a prompt that is not a critic's."""
    prompt = question.messages[0].content
    problem = _text(prompt, "Problem")
    if problem is None:
        return ""
    luck = json.dumps([problem, question.seed if question.temperature else 0])
    roll = int(hashlib.sha256(luck.encode()).hexdigest()[:8], 16) % 100
    if roll >= 100 - RAMBLES and len(question.messages) == 1:
        return "This looks fine to me."
    errs = roll < ERRS
    response, first, second = (_text(prompt, name) for name in ("Response", "First response", "Second response"))
    if first is not None and second is not None:
        wrong = [_mistake(problem, text) for text in (first, second)]
        better = "tie" if bool(wrong[0]) == bool(wrong[1]) else "second" if wrong[0] else "first"
        if errs:
            better = "first"
        return json.dumps(
            {"reason": f"first: {wrong[0] or 'sound'}; second: {wrong[1] or 'sound'}", "better": better}
        )
    if response is None:
        return ""
    mistake = _mistake(problem, response)
    sound = (not mistake) != errs
    criteria = re.findall(r"^- ([a-z][a-z0-9_]*) \((wanted|fault)\): ", prompt, re.MULTILINE)
    marks = [
        {"criterion": name, "reason": mistake or "its sums hold", "met": sound == (kind == "wanted")}
        for name, kind in criteria
    ]
    return json.dumps({"marks": marks})


def _text(prompt: str, heading: str) -> str | None:
    """The JSON string below a heading."""
    found = re.search(rf'^## {heading}\n(".*")$', prompt, re.MULTILINE)
    return str(json.loads(found[1])) if found else None


def _mistake(problem: str, response: str) -> str:
    """What is wrong with the response, or ""; "no sum" when nothing in it can be checked."""
    steps = [(match[1], match[2]) for match in SUM.finditer(response) if match[2]]
    for left, right in steps:
        if (value := _value(left)) != Fraction(right):
            return f"{left} is not {right}" if value is not None else f"{left} has no value"
    numbers = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", response)
    asked = [value for match in SUM.finditer(problem) if not match[2] and (value := _value(match[1])) is not None]
    if not numbers:
        return "no sum"
    if asked and Fraction(numbers[-1]) != asked[-1]:
        return f"{numbers[-1]} is not what is asked for"
    if not asked and not steps:
        return "no sum"
    if not asked and Fraction(numbers[-1]) != Fraction(steps[-1][1]):
        return f"{numbers[-1]} is not the last result"
    return ""


def _value(text: str) -> Fraction | None:
    """A chain of + - * / with the usual precedence; None where it divides by zero."""
    total, product, sign = Fraction(0), Fraction(0), ""
    for match in TERM.finditer(text):
        sign, number = match[1], Fraction(match[2])
        if sign in ("*", "/"):
            if sign == "/" and not number:
                return None
            product = product * number if sign == "*" else product / number
        else:
            total += product
            product = -number if sign == "-" else number
    return total + product
