"""Extracts: parts of the documents, the nearest of which ground what a sampler writes, quoted as data."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from heapq import nlargest
from math import log
from typing import Literal

from agents.prompts import Prompt, render
from loop.contamination import Exams
from loop.documents import HEADING, Document
from loop.objective import Demonstration
from loop.records import Record, digest

LEAST, MOST = 400, 1600
"""Characters of an extract: a new one is begun from LEAST at a heading, and no part is joined beyond MOST. What ends
a document, or stands before a part too long to join, may be shorter."""
SATURATION, LENGTH = 1.2, 0.75
"""k1 and b of BM25, the usual values (Robertson and Zaragoza 2009, section 3.6)."""
HIGH = 12
"""Bucket from which an extract is of high quality (of 20; as in NVIDIA's published recipe for Nemotron-CC)."""
SHORT = 3
"""Words and marks below which an exam problem is too short to be looked for in a text."""
START = 5
"""Words and marks by whose run the places are found at which a problem may stand."""


class Extract(Record):
    """A part of a document."""

    id: str
    """Digest of the text."""
    document: str
    """Name of the document."""
    title: str
    """The heading that it stands under, or the document's title; "" where there is neither."""
    text: str
    refined: str = ""
    """Digest of the text where a refiner has cleaned it; the id stays that of the text as it stood."""
    bucket: int | None = None
    """Of its quality among all extracts, 0 to 19; None where they are not scored."""


class Extracts:
    """The distinct extracts of some documents that hold no problem of an exam."""

    def __init__(self, documents: Iterable[Document], exams: Exams) -> None:
        """Args: exams: all problems of dev and test."""
        self._exams, self._held = exams, _Held(exams.prompts)
        found = {e.id: e for document in documents for e in split_document(document)}
        matches = {e.id: self.held_in(e.text) for e in found.values()}
        self.all = tuple(extract for extract in found.values() if not matches[extract.id])
        """In the order of the documents."""
        self.low: tuple[Extract, ...] = ()
        """Extracts whose quality keeps them out of `all`: only for who rewrites them."""
        self.left_out = len(found) - len(self.all)
        """Extracts that hold a problem of an exam."""
        self.match = next(filter(None, matches.values()), "")
        """The text by which the first of them did."""
        self._weights = _weigh([_terms(f"{e.title} {e.text}") for e in self.all])

    def held_in(self, text: str) -> str:
        """The exam problem that a text holds, or ""."""
        return self._held.match(text) or self._exams.match(text, "")

    def narrowed(self, kept: Iterable[Extract], low: Iterable[Extract] = ()) -> Extracts:
        """These extracts alone, as they are now."""
        narrowed = copy(self)
        narrowed.all, narrowed.low = tuple(kept), tuple(low)
        narrowed._weights = _weigh([_terms(f"{e.title} {e.text}") for e in narrowed.all])
        return narrowed

    def of_quality(self, quality: Literal["low", "high"]) -> tuple[Extract, ...]:
        """Those of high or of low buckets (Nemotron-CC, arXiv 2412.02595); all where they are not scored."""
        if not any(extract.bucket is not None for extract in (*self.all, *self.low)):
            return self.all
        if quality == "high":
            return tuple(extract for extract in self.all if (extract.bucket or 0) >= HIGH)
        return tuple(extract for extract in (*self.all, *self.low) if (extract.bucket or 0) < HIGH)

    def nearest(self, prompt: str, most: int, seed: int) -> tuple[Extract, ...]:
        """At most so many extracts that share words with the prompt, the nearest by BM25 first.

        `seed` decides between equally near ones.
        """
        scores: defaultdict[int, float] = defaultdict(float)
        for term in sorted(set(_terms(prompt))):
            for i, weight in self._weights.get(term, ()):
                scores[i] += weight
        least = min(nlargest(most, scores.values()), default=0.0)
        near = [i for i, score in scores.items() if score >= least]
        near.sort(key=lambda i: (-scores[i], digest(seed, self.all[i].id)))
        return tuple(self.all[i] for i in near[:most])


def sample_prompt(
    problem: str,
    *,
    place: str,
    examples: Sequence[Demonstration] = (),
    instructions: str = "",
    extracts: Sequence[Extract] = (),
) -> Prompt:
    """What a sampler that is not the student is told. `place`: where its answer has to stand (see `extract_answer`).

    The problem comes last: what stands before it is the same for many problems.
    """
    return render(
        "sample", problem=problem, place=place, examples=examples, instructions=instructions, extracts=extracts
    )


# Into extracts.


def split_document(document: Document) -> Iterator[Extract]:
    """The document's extracts in their order: whole paragraphs where they fit, else sentences, else words.

    A run of more than MOST characters without white space is no word: it is cut where it is full.
    """
    title, parts, size = document.title, list[str](), 0
    under = title
    for part in _parts(document.text):
        heading = HEADING.match(part)
        if parts and (size + len(part) > MOST or (heading and size >= LEAST)):
            yield from _extract(document, under, parts)
            parts, size = [], 0
        if heading:
            title = heading[1].strip()
        if not parts:
            under = title
        parts.append(part)
        size += len(part) + 2
    yield from _extract(document, under, parts)


def _extract(document: Document, title: str, parts: Sequence[str]) -> Iterator[Extract]:
    """The parts as one extract, without headings that nothing follows; none where nothing else is there."""
    kept = len(parts)
    while kept and HEADING.fullmatch(parts[kept - 1]):
        kept -= 1
    if kept:
        text = "\n\n".join(parts[:kept])
        yield Extract(id=digest(text), document=document.name, title=title, text=text)


def _parts(text: str) -> Iterator[str]:
    """Headings with what follows them and paragraphs, none longer than MOST."""
    for block in re.split(r"\n[ \t]*\n|\n(?=#{1,6}[ \t]+\S)", text):
        rest = block.strip()
        while len(rest) > MOST:
            head = rest[: MOST + 1]
            ends = [m.end() for m in re.finditer(r"[.!?][\"')\]]*\s|[。！？]|\n", head) if m.end() >= LEAST]
            spaces = [m.start() for m in re.finditer(r"\s", head)]
            cut = (ends or spaces or [MOST])[-1]
            yield rest[:cut].strip()
            rest = rest[cut:].strip()
        if rest:
            yield rest


# What is near.


def _terms(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _weigh(texts: Sequence[Sequence[str]]) -> dict[str, list[tuple[int, float]]]:
    """What every term adds to the score of every text that holds it, by BM25."""
    mean = sum(map(len, texts)) / max(1, len(texts)) or 1.0
    counts = [Counter(terms) for terms in texts]
    holders = Counter(term for count in counts for term in count)
    weights: dict[str, list[tuple[int, float]]] = {term: [] for term in holders}
    for i, count in enumerate(counts):
        slack = SATURATION * (1 - LENGTH + LENGTH * len(texts[i]) / mean)
        for term, n in count.items():
            rarity = log(1 + (len(texts) - holders[term] + 0.5) / (holders[term] + 0.5))
            weights[term].append((i, rarity * n * (SATURATION + 1) / (n + slack)))
    return weights


# What is held.


class _Held:
    """Exam problems, ready to be looked for inside a longer text, word for word. `Exams` compares whole problems."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._by_start: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for prompt in prompts:
            words = _marks(prompt)
            if len(words) >= SHORT:
                self._by_start[words[:START]].append(words)

    def match(self, text: str) -> str:
        """The first problem that the text holds, or ""."""
        words = _marks(text)
        for i in range(len(words)):
            for length in range(SHORT, START + 1):
                for problem in self._by_start.get(words[i : i + length], ()):
                    if words[i : i + len(problem)] == problem:
                        return " ".join(problem)
        return ""


def _marks(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+|[^\w\s]", text.casefold()))
