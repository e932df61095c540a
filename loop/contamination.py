"""Contamination: does a training row hold a problem of dev or test? By equality, n-gram and near-duplicate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from loop.tasks import folded

RUN = 13
"""Words in a row that make a match (phi-1 and GPT-3 use 13)."""
SHINGLE = 5
NEAR = 0.8
"""Jaccard similarity of shingles from which two texts are near-duplicates."""
LONG_ENOUGH = 16
"""A problem's own shingles (those of 20 words) below which their overlap says nothing."""
BOILERPLATE = 3
"""A shingle in this many exam problems is the task's own wording, not a problem's."""


class Exams:
    """The problems of dev and test, ready to be looked for in training rows."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._prompts = list(dict.fromkeys(prompts))
        self._folded = {folded(prompt): prompt for prompt in self._prompts}
        words = [_words(prompt) for prompt in self._prompts]
        shingles = [set(_runs(w, SHINGLE)) for w in words]
        common = Counter(shingle for s in shingles for shingle in s)
        self._wording = {shingle for shingle, count in common.items() if count >= BOILERPLATE}
        self._runs = {run for w in words for run in self._telling(w)}
        own = {i: s - self._wording for i, s in enumerate(shingles)}
        self._own = {i: s for i, s in own.items() if len(s) >= LONG_ENOUGH}
        self._holders: dict[tuple[str, ...], list[int]] = {}
        for i, held in self._own.items():
            for shingle in held:
                self._holders.setdefault(shingle, []).append(i)

    def match(self, prompt: str, response: str) -> str:
        """The text by which a row gives an exam problem away, or ""."""
        if folded(prompt) in self._folded:
            return prompt
        words = _words(f"{prompt} {response}")
        for run in _runs(words, RUN):
            if run in self._runs:
                return " ".join(run)
        return self._near(_words(prompt))

    def _telling(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """The runs of a problem that are more its own than the task's wording.

        Problems of one generator share all but a few numbers or names, and share those by chance: counting their
        wording would drop most of what such a task can ever teach.
        """
        is_own = [True] * len(words)
        for i, shingle in enumerate(_runs(words, SHINGLE)):
            if shingle in self._wording:
                is_own[i : i + SHINGLE] = [False] * SHINGLE
        return [run for i, run in enumerate(_runs(words, RUN)) if sum(is_own[i : i + RUN]) > RUN / 2]

    def _near(self, words: Sequence[str]) -> str:
        own = set(_runs(words, SHINGLE)) - self._wording
        if len(own) < LONG_ENOUGH:
            return ""
        for i in sorted({i for shingle in own for i in self._holders.get(shingle, ())}):
            held = self._own[i]
            if len(own & held) >= NEAR * len(own | held):
                return self._prompts[i]
        return ""


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.casefold())


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
