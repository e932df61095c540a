"""Overlap: how much of one text stands in another, and which pairs of two lists come next without a repeat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from math import gcd


def overlap(first: str, second: str) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of words, 0 to 1; two empty texts are the same."""
    a, b = _words(first), _words(second)
    return 2 * _common(a, b) / (len(a) + len(b)) if a or b else 1.0


def pair(number: int, firsts: Sequence[str], seconds: Sequence[str], luck: int) -> tuple[str, str] | None:
    """The pair of that number in an order in which every pair stands once; None beyond the last.

    The order is an affine map modulo the number of pairs, which is one to one when the factor is prime to it.
    """
    size = len(firsts) * len(seconds)
    if number >= size:
        return None
    factor = next(candidate for candidate in count(luck % size + 1) if gcd(candidate, size) == 1)
    place = (factor * number + luck // size) % size
    return firsts[place // len(seconds)], seconds[place % len(seconds)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time as bits (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(a)) - 1
    row = whole
    for word in b:
        found = row & places.get(word, 0)
        row = (row + found | row - found) & whole
    return len(a) - row.bit_count()
