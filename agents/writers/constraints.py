"""Constraints on a response that a program can check: pure functions, in the manner of IFEval (arXiv 2311.07911)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from agents.writers.words import constraint_words, words

Checker = Callable[[str, int, str], bool]
"""(response, number, word) → whether the constraint is met."""


@dataclass(frozen=True)
class Constraint:
    """One constraint. `number` and `word` are used by those that need one."""

    name: str
    number: int = 0
    word: str = ""

    @property
    def text(self) -> str:
        """As it stands in a request."""
        said = str(constraint_words()[self.name]["text"])
        return said.replace("{number}", str(self.number)).replace("{word}", self.word)

    def holds(self, response: str) -> bool:
        """Whether a response meets it; an empty one meets none."""
        response = response.strip()
        return bool(response) and CHECKERS[self.name](response, self.number, self.word)


def draw_constraints(most: int, luck: int) -> tuple[Constraint, ...]:
    """One to `most` constraints that can be met together: no two touch the same side of a response."""
    random = Random(luck)
    names = sorted(CHECKERS)
    random.shuffle(names)
    wanted, touched, drawn = random.randint(1, most), set[str](), list[Constraint]()
    for name in names:
        said = constraint_words()[name]
        if len(drawn) < wanted and touched.isdisjoint(said["touches"]):
            touched |= set(said["touches"])
            number = random.randint(*said["number"]) if "number" in said else 0
            word = random.choice(words(said["word"])) if "word" in said else ""
            drawn.append(Constraint(name, number, word))
    return tuple(drawn)


def unmet(constraints: tuple[Constraint, ...], response: str) -> Constraint | None:
    """The first constraint that the response does not meet, or None."""
    return next((constraint for constraint in constraints if not constraint.holds(response)), None)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’\-]\w+)*", text)


def _sentences(text: str) -> int:
    """Ends of sentences: marks before white space or the end; what is left after the last one counts as one."""
    return len([part for part in re.split(r"[.!?…]+[\"'”’)]*(?:\s+|$)", text) if re.search(r"\w", part)])


def _paragraphs(text: str) -> int:
    return len([part for part in re.split(r"\n[ \t]*\n", text) if part.strip()])


def _bullets(text: str) -> int:
    return len(re.findall(r"^[ \t]*[-*•][ \t]+\S", text, re.MULTILINE))


def _times(text: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))


def _is_json(text: str) -> bool:
    """One JSON object or list and nothing else, not even a fence around it."""
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


CHECKERS: Mapping[str, Checker] = {
    "words_at_least": lambda text, number, _: len(_words(text)) >= number,
    "words_at_most": lambda text, number, _: len(_words(text)) <= number,
    "sentences": lambda text, number, _: _sentences(text) == number,
    "paragraphs": lambda text, number, _: _paragraphs(text) == number,
    "bullets": lambda text, number, _: _bullets(text) == number,
    "keyword": lambda text, number, word: _times(text, word) >= number,
    "keyword_absent": lambda text, _, word: _times(text, word) == 0,
    "json_only": lambda text, *_: _is_json(text),
    "lower_case": lambda text, *_: text == text.lower(),
    "upper_case": lambda text, *_: text == text.upper(),
    "ends_with": lambda text, _, word: text.endswith(word),
    "no_commas": lambda text, *_: "," not in text,
    "title": lambda text, *_: bool(re.match(r"<<[^<>\n]*\w[^<>\n]*>>(?:\n|$)", text)),
    "in_quotes": lambda text, *_: len(text) > 2 and text[0] == text[-1] == '"',
}
"""By name; templates/writers/constraints.yaml has their words."""
