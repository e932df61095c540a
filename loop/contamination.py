"""Contamination: does a training row hold a problem of dev or test? By equality, n-gram and near-duplicate.

What stands in several exam problems is the task's own wording and tells nothing: problems of one generator share all
but a few numbers or names, and counting the rest as matches would drop most of what such a task can teach.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from loop.tasks import folded

Gram = tuple[str, ...]

WORDING = 3
"""Exam problems in which a gram must stand to be the task's own wording, not a problem's."""
RUN = 13
"""Words in a row that make a match (phi-1 and GPT-3 use 13), when most of them are the problem's own."""
COVER = 5
"""Words of the grams by which a run is told from the wording."""
GRAM = 3
NEAR = 0.5
"""Jaccard similarity of own grams from which two problems are near-duplicates. Of GSM8K's test, a copy with every
twelfth word replaced, which breaks all runs, is found in 96 of 100, and one of 7,473 training problems by mistake."""
LONG_ENOUGH = 16
"""Own grams below which their overlap says nothing: short problems of one kind differ in a number only."""


class Exams:
    """The problems of dev and test, ready to be looked for in training rows."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._prompts = list(dict.fromkeys(prompts))
        self._folded = {folded(prompt) for prompt in self._prompts}
        words = [_words(prompt) for prompt in self._prompts]
        covers = _in_several(words, COVER)
        self._runs = {run for w in words for run in _telling_runs(w, covers)}
        self._wording = _in_several(words, GRAM)
        self._own = [self._own_grams(w) for w in words]
        self._holders: dict[Gram, list[int]] = {}
        for i, held in enumerate(self._own):
            for gram in held:
                self._holders.setdefault(gram, []).append(i)

    def match(self, prompt: str, response: str) -> str:
        """The text by which a row gives an exam problem away, or ""."""
        if folded(prompt) in self._folded:
            return prompt
        for run in _grams(_words(f"{prompt} {response}"), RUN):
            if run in self._runs:
                return " ".join(run)
        return self._near(_words(prompt))

    def _near(self, words: Sequence[str]) -> str:
        own = self._own_grams(words)
        for i in sorted({i for gram in own for i in self._holders.get(gram, ())}):
            if len(own & self._own[i]) >= NEAR * len(own | self._own[i]):
                return self._prompts[i]
        return ""

    def _own_grams(self, words: Sequence[str]) -> set[Gram]:
        """The grams of a problem that are not the task's wording; none of one that is too short."""
        own = set(_grams(words, GRAM)) - self._wording
        return own if len(own) >= LONG_ENOUGH else set()


def _in_several(problems: Sequence[Sequence[str]], length: int) -> set[Gram]:
    counts = Counter(gram for words in problems for gram in set(_grams(words, length)))
    return {gram for gram, count in counts.items() if count >= WORDING}


def _telling_runs(words: Sequence[str], covers: set[Gram]) -> list[Gram]:
    """The runs of a problem that are for the most part outside the wording."""
    is_own = [True] * len(words)
    for i, gram in enumerate(_grams(words, COVER)):
        if gram in covers:
            is_own[i : i + COVER] = [False] * COVER
    return [run for i, run in enumerate(_grams(words, RUN)) if sum(is_own[i : i + RUN]) > RUN / 2]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.casefold())


def _grams(words: Sequence[str], length: int) -> list[Gram]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
