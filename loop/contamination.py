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
LONG_ENOUGH = 20
"""Words below which shingles say nothing: short problems of one kind differ in a number only."""
BOILERPLATE = 3
"""A run of words in this many exam problems is the task's own wording, not a problem's."""


class Exams:
    """The problems of dev and test, ready to be looked for in training rows."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._prompts = list(dict.fromkeys(prompts))
        self._folded = {folded(prompt): prompt for prompt in self._prompts}
        words = [_words(prompt) for prompt in self._prompts]
        frequency = Counter(run for w in words for run in set(_runs(w, RUN)))
        self._runs = {run for run, count in frequency.items() if count < BOILERPLATE}
        shingles = [set(_runs(w, SHINGLE)) for w in words]
        common = Counter(shingle for s in shingles for shingle in s)
        self._common = {shingle for shingle, count in common.items() if count >= BOILERPLATE}
        self._shingles = {i: s for i, s in enumerate(shingles) if len(words[i]) >= LONG_ENOUGH}
        self._holders: dict[tuple[str, ...], list[int]] = {}
        for i, held in self._shingles.items():
            for shingle in held - self._common:
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

    def _near(self, words: Sequence[str]) -> str:
        if len(words) < LONG_ENOUGH:
            return ""
        own = set(_runs(words, SHINGLE))
        candidates = {i for shingle in own - self._common for i in self._holders.get(shingle, ())}
        for i in sorted(candidates):
            held = self._shingles[i]
            if len(own & held) >= NEAR * len(own | held):
                return self._prompts[i]
        return ""


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.casefold())


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
