"""Grams: a text as words and marks, its runs of them, and what several texts have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

Gram = tuple[str, ...]

WORDING = 3
"""Texts in which a gram must stand to be the task's own wording, not a problem's."""


def words_of(text: str) -> list[str]:
    """The text's words and marks, case folded."""
    return re.findall(r"\w+|[^\w\s]", text.casefold())


def grams_of(words: Sequence[str], length: int) -> list[Gram]:
    """All runs of so many words, in their order; none of a shorter text."""
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


def wording_of(texts: Iterable[Sequence[str]], length: int) -> frozenset[Gram]:
    """The grams that stand in WORDING of the texts or more.

    Problems of one generator share all but a few numbers or names; what they share tells nothing about any of them.
    """
    counts = Counter(gram for words in texts for gram in set(grams_of(words, length)))
    return frozenset(gram for gram, count in counts.items() if count >= WORDING)
