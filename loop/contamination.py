"""Contamination: does a training row hold a problem of dev or test?

By equality, by n-gram (13 and 8 words), by near-duplicate, and of code by its syntax tree.

What stands in several exam problems is the task's own wording and tells nothing: problems of one generator share all
but a few numbers or names, and counting the rest as matches would drop most of what such a task can teach.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from loop.code_match import ExamCode, solution_of
from loop.grams import Gram, grams_of, wording_of, words_of
from loop.records import Problem, Record
from loop.tasks import folded

RUN = 13
"""Words in a row that make a match (phi-1 and GPT-3 use 13), when most of them are the problem's own."""
PIECE, PIECES = 8, 0.5
"""A text matches that holds more than half of a problem's own words in runs of 8 (Tulu 3, arXiv 2411.15124: the
share of a test problem's tokens that stand in shared 8-grams, over one half)."""
COVER = 5
"""Words of the grams by which a run is told from the wording."""
GRAM = 3
NEAR = 0.5
"""Jaccard similarity of own grams from which two problems are near-duplicates. Of GSM8K's test, a copy with every
twelfth word replaced, which breaks all runs, is found in 96 of 100, and one of 7,473 training problems by mistake."""
LONG_ENOUGH = 16
"""Own grams below which their overlap says nothing: short problems of one kind differ in a number only."""


class Match(Record):
    """By what a training row gives an exam problem away."""

    kind: Literal["same problem", "run", "pieces", "near-duplicate", "code"]
    """run: RUN words in a row; pieces: runs of PIECE words that are most of it; code: a solution's syntax tree."""
    exam: str
    """The problem, or the solution where its code matched."""
    span: str
    """The text of the row that matched: as words for a run and for pieces (parted by " … "), else as it stands."""

    @property
    def text(self) -> str:
        """What a person is shown: the span, and the problem where the two are not alike word for word."""
        return self.exam if self.kind == "near-duplicate" else self.span


class Exams:
    """The problems of dev and test, ready to be looked for in training rows."""

    def __init__(self, prompts: Iterable[str], solutions: Iterable[str] = ()) -> None:
        """Args: solutions: of exam problems, whole as they would run; those that are no Python code, or too short,
        are passed over.
        """
        self.prompts = tuple(dict.fromkeys(prompts))
        """The distinct ones."""
        self._folded = {folded(prompt): prompt for prompt in reversed(self.prompts)}
        words = [words_of(prompt) for prompt in self.prompts]
        covers = wording_of(words, COVER)
        self._wording = wording_of(words, GRAM)
        self._own = [self._own_grams(w) for w in words]
        self._holders = _holders(self._own)
        is_own = [_own_words(w, covers) for w in words]
        self._runs: dict[Gram, int] = {}
        for i in range(len(words)):
            for at in _telling(words[i], is_own[i], RUN):
                self._runs.setdefault(tuple(words[i][at : at + RUN]), i)
        self._own_words = [sum(flags) for flags in is_own]
        self._pieces: defaultdict[Gram, list[tuple[int, int]]] = defaultdict(list)
        """Where each telling run of PIECE words stands: problem, and its own words in it as bits."""
        self._owned = [_bits(flags) for flags in is_own]
        for i in range(len(words)):
            for at in _telling(words[i], is_own[i], PIECE) if self._own[i] else ():
                self._pieces[tuple(words[i][at : at + PIECE])].append((i, at))
        self._code = ExamCode(solutions)

    def match(self, prompt: str, response: str) -> str:
        """The text by which a row gives an exam problem away, or ""."""
        found = self.find(prompt, response)
        return found.text if found else ""

    def find(self, prompt: str, response: str) -> Match | None:
        """How a row gives an exam problem away: the first that holds of the same problem, a run of RUN words in it,
        a near-duplicate as its prompt or response, pieces of PIECE words in one of them, and a solution's code.
        """
        if (same := self._folded.get(folded(prompt))) is not None:
            return Match(kind="same problem", exam=same, span=prompt)
        asked, said = words_of(prompt), words_of(response)
        for run in grams_of([*asked, *said], RUN):
            if (i := self._runs.get(run)) is not None:
                return Match(kind="run", exam=self.prompts[i], span=" ".join(run))
        for text, words in ((prompt, asked), (response, said)):
            if found := self._near(text, words) or self._in_pieces(words):
                return found
        return self._as_code(prompt, response)

    def _in_pieces(self, words: Sequence[str]) -> Match | None:
        covered: defaultdict[int, int] = defaultdict(int)
        places: defaultdict[int, set[int]] = defaultdict(set)
        for place, piece in enumerate(grams_of(words, PIECE)):
            for i, at in self._pieces.get(piece, ()):
                covered[i] |= ((1 << PIECE) - 1) << at & self._owned[i]
                places[i].update(range(place, place + PIECE))
        for i in sorted(covered):
            if covered[i].bit_count() > PIECES * self._own_words[i]:
                return Match(kind="pieces", exam=self.prompts[i], span=_pieced(words, places[i]))
        return None

    def _near(self, text: str, words: Sequence[str]) -> Match | None:
        own = self._own_grams(words)
        for i in sorted({i for gram in own for i in self._holders.get(gram, ())}):
            if len(own & self._own[i]) >= NEAR * len(own | self._own[i]):
                return Match(kind="near-duplicate", exam=self.prompts[i], span=text)
        return None

    def _as_code(self, prompt: str, response: str) -> Match | None:
        found = self._code.find(prompt, response)
        return Match(kind="code", exam=found.exam, span=found.code) if found else None

    def _own_grams(self, words: Sequence[str]) -> set[Gram]:
        """The grams of a problem that are not the task's wording; none of one that is too short."""
        own = set(grams_of(words, GRAM)) - self._wording
        return own if len(own) >= LONG_ENOUGH else set()


def exams_of(problems: Sequence[Problem]) -> Exams:
    """The exams of all these problems, with their reference code where they have any."""
    return Exams((p.prompt for p in problems), (solution_of(p.prompt, p.solution or p.answer) for p in problems))


def _holders(grams: Sequence[set[Gram]]) -> dict[Gram, list[int]]:
    holders: dict[Gram, list[int]] = {}
    for i, held in enumerate(grams):
        for gram in held:
            holders.setdefault(gram, []).append(i)
    return holders


def _own_words(words: Sequence[str], wording: frozenset[Gram]) -> list[bool]:
    """Of each word, whether it is outside the wording."""
    is_own = [True] * len(words)
    for i, gram in enumerate(grams_of(words, COVER)):
        if gram in wording:
            is_own[i : i + COVER] = [False] * COVER
    return is_own


def _telling(words: Sequence[str], is_own: Sequence[bool], length: int) -> list[int]:
    """Where the runs begin that are for the most part outside the wording, and by half no marks: a list of numbers
    in brackets is like many others.
    """
    is_word = [word[0].isalnum() for word in words]
    return [
        i
        for i in range(len(words) - length + 1)
        if sum(is_own[i : i + length]) > length / 2 and sum(is_word[i : i + length]) >= length / 2
    ]


def _bits(flags: Sequence[bool]) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


def _pieced(words: Sequence[str], places: set[int]) -> str:
    """The words at these places, with " … " where others stand between."""
    parts, last = list[str](), min(places)
    for place in sorted(places):
        parts += ["…"] * (place - last > 1) + [words[place]]
        last = place
    return " ".join(parts)
