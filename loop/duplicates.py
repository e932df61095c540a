"""Near-duplicates: which row repeats one that is held already, exactly or in all but a few words.

The same words first (case and white space folded), then candidates by MinHash LSH over runs of words (Broder 1997;
banding as in Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4), then the true Jaccard
similarity of each candidate, so that the threshold means what it says and LSH decides only who is looked at.

The library is rensa (Rust, MIT, one wheel without dependencies). `python -m benchmarks.curation` compares it: rows of
about 200 words from a seeded generator, one tenth of them copies with one to three words replaced, 256 hashes in 32
bands, no candidate verified but by the library itself; CPU seconds on two cores that other work shared:

    library           10,000 rows   100,000 rows   peak MB   copies found
    rensa 0.5.0           1.0           10.7           294       100 %
    gaoya 0.2.2           1.1           13.8           260        99 %
    datasketch 2.0.0      4.8           45.7         1,152       100 %

gaoya (Rust too) decides by its sketches' estimate, which loses some copies, hashes each row twice when a batch is to
be compared with itself, and had its last two releases two years apart; datasketch is the reference, in Python over
numpy. rensa's faster `rho` sketch is left aside: it samples positions, so its recall depends on the order of words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from math import ceil
from typing import Any, NamedTuple

from loop.grams import wording_of, words_of
from loop.records import Record
from loop.tasks import folded

SHINGLE = 5
"""Words and marks of a shingle, as in Lee et al. (arXiv 2107.06499) and FineWeb (arXiv 2406.17557)."""
ALIKE = 0.8
"""Jaccard similarity of shingles from which a row repeats another, as in Lee et al. (arXiv 2107.06499)."""
LONG_ENOUGH = ceil(SHINGLE * (1 + ALIKE) / (1 - ALIKE))
"""Shingles, 45, below which only the same words make a duplicate. A word replaced inside a row of n shingles breaks
SHINGLE of them and leaves (n - SHINGLE) / (n + SHINGLE) alike: in a shorter row that is under ALIKE already, so that
all the rule could still catch there is rows that differ at an end, where problems of one kind have their number."""
BANDS, ROWS = 32, 8
"""LSH looks at 1 - (1 - s^8)^32 of the pairs with similarity s: 99.7 % at 0.8, 97 % at 0.75, 12 % at 0.5."""
MOST_LOOKED_AT = 200
"""Candidates, the earliest first, whose similarity is computed: what bounds the time among thousands of rows that
are all alike, but less than ALIKE."""
BATCH = 1000
"""Rows that are hashed at once."""
SEED = 1


class Twin(Record):
    """The held row that another row repeats."""

    id: str
    text: str
    similarity: float
    """Jaccard, of their shingles; 1.0 for the same words."""


class Row(NamedTuple):
    """A row as it is compared: with its prompt, and without."""

    id: str
    text: str
    """Its response, or all of it where there is no prompt."""
    prompt: str = ""

    @property
    def whole(self) -> str:
        """Prompt and text."""
        return f"{self.prompt}\n{self.text}" if self.prompt else self.text


class _Sketched(NamedTuple):
    row: Row
    key: bytes
    """Digest of its folded words."""
    sketch: Any | None
    """None of one that is too short."""


class Novelty:
    """All that was trained on and what was found new since, ready to be asked what a row repeats.

    It is in memory only, and the same rows in the same order always make the same archive: rebuild it from the rows.
    A row takes its text and about 3 kB.
    """

    def __init__(self, held: Iterable[Row] = (), common: Iterable[str] = ()) -> None:
        """Args: held: every row trained on before. common: texts that are known to be different, such as exam
        problems or demonstrations; what several of them share is the task's wording and makes no twins.
        """
        from rensa import RMinHashLSH

        self._wording = frozenset(" ".join(gram) for gram in wording_of(map(words_of, common), SHINGLE))
        self._rows: list[Row] = []
        self._same: dict[bytes, int] = {}
        self._lsh = RMinHashLSH(ALIKE, BANDS * ROWS, BANDS)
        for row in held:
            if (key := _key(row.whole)) not in self._same:  # one that is like another is held too
                self._place(row, key)
        self._unsketched = range(len(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def sift(self, rows: Iterable[Row]) -> Iterator[tuple[str, Twin | None]]:
        """Each row's id with the row it repeats, or None: then it is new, and held from here on.

        Rows are read as they are needed, BATCH ahead.
        """
        for row in self._sketched(rows):
            twin = self._twin(row)
            if twin is None:
                self._hold(row)
            yield row.row.id, twin

    def twin(self, text: str, prompt: str = "") -> Twin | None:
        """The held row that a text repeats: the same words, else the most alike, the earliest of several."""
        return self._twin(next(self._sketched([Row("", text, prompt)])))

    def _twin(self, row: _Sketched) -> Twin | None:
        if (same := self._same.get(row.key)) is not None:
            return self._as_twin(same, 1.0)
        if row.sketch is None:
            return None
        self._sketch_held()
        near = sorted(self._lsh.query(row.sketch))[:MOST_LOOKED_AT]
        if not near:
            return None
        own = self._shingles(row.row.whole)
        alike, place = max((self._likeness(row.row, own, self._rows[place]), -place) for place in near)
        return self._as_twin(-place, alike) if alike >= ALIKE else None

    def _likeness(self, row: Row, own: set[str], held: Row) -> float:
        """Of the whole rows or of their texts, the lower: two answers to one question, or two questions about one
        passage, are no repeats.
        """
        alike = _jaccard(own, self._shingles(held.whole))
        if alike < ALIKE or not (row.prompt or held.prompt) or folded(row.text) == folded(held.text):
            return alike
        return min(alike, _jaccard(self._shingles(row.text), self._shingles(held.text)))

    def _as_twin(self, place: int, similarity: float) -> Twin:
        return Twin(id=self._rows[place].id, text=self._rows[place].whole, similarity=similarity)

    def _hold(self, row: _Sketched) -> None:
        place = self._place(row.row, row.key)
        if row.sketch is not None:
            self._lsh.insert(place, row.sketch)

    def _place(self, row: Row, key: bytes) -> int:
        self._same[key] = place = len(self._rows)
        self._rows.append(row)
        return place

    def _sketch_held(self) -> None:
        """Sketch what was held from the start, when the first row comes that is long enough to be like any of it."""
        places, self._unsketched = self._unsketched, range(0)
        for place, row in zip(places, self._sketched(self._rows[place] for place in places), strict=True):
            if row.sketch is not None:
                self._lsh.insert(place, row.sketch)

    def _sketched(self, rows: Iterable[Row]) -> Iterator[_Sketched]:
        from rensa import RMinHash

        source = iter(rows)
        while batch := list(islice(source, BATCH)):
            shingles = [self._shingles(row.whole) for row in batch]
            long = [found for found in shingles if len(found) >= LONG_ENOUGH]
            sketches = iter(RMinHash.from_token_sets(long, num_perm=BANDS * ROWS, seed=SEED))
            for row, found in zip(batch, shingles, strict=True):
                yield _Sketched(row, _key(row.whole), next(sketches) if len(found) >= LONG_ENOUGH else None)

    def _shingles(self, text: str) -> set[str]:
        words = words_of(text)
        shingles = set(map(" ".join, zip(*(words[i:] for i in range(SHINGLE)), strict=False)))
        return shingles - self._wording if self._wording else shingles


def _jaccard(one: set[str], other: set[str]) -> float:
    shared = len(one & other)
    return shared / max(1, len(one) + len(other) - shared)


def _key(text: str) -> bytes:
    return blake2b(folded(text).encode(), digest_size=16).digest()
