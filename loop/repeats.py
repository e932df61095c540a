"""Repeats: which rows of a round say again what was trained on before, or what an earlier row of the round says.

Before is everything: the demonstrations and the examples of all earlier rounds, those of discarded ones too. A row
may repeat by its words (loop/duplicates.py) or by its path of solution (loop/paths.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loop.contamination import Exams
from loop.duplicates import Novelty, Row
from loop.paths import Archive, equations_of
from loop.records import Example, Sample, digest
from loop.tasks import folded

TELLING = 3
"""Equations of a path from which it tells one problem from all others: of GSM8K's 7,473 training problems with one or
two of them, 3.6 % share their path with another; with three or four 0.4 %, with more none."""


@dataclass(frozen=True)
class Known:
    """What no new row may repeat."""

    exams: Exams
    """The problems of dev and test."""
    rows: Sequence[Example] = ()
    """Everything trained on before: the demonstrations, and the examples of all earlier rounds."""


class Repeat(NamedTuple):
    """What a row repeats."""

    reason: str
    """duplicate, known path, near-duplicate of an earlier row."""
    of: str
    """Id of the example, or of the one that an earlier sample of the round may become."""
    similarity: float | None = None


def find_duplicates(samples: Sequence[Sample], known: Known) -> dict[str, Repeat]:
    """Of the same response to the same problem, all but the first, by sample."""
    first = {_words(row.prompt, row.response): row.id for row in _of_same_problems(samples, known)}
    found = {}
    for sample in samples:
        words = _words(sample.problem.prompt, sample.response)
        if words in first:
            found[sample.id] = Repeat("duplicate", first[words], 1.0)
        else:
            first[words] = example_id(sample)
    return found


def find_known_paths(samples: Sequence[Sample], known: Known) -> dict[str, Repeat]:
    """Samples that solve their problem as an earlier round did; and those of written problems that are solved by the
    same equations, TELLING or more, as another problem: that one in other words.
    """
    archive, found = Archive(), dict[str, Repeat]()
    again = _of_same_problems(samples, known)
    for row in again:
        archive.add(folded(row.prompt), row.response, row.id)
    solved = {folded(row.prompt) for row in again}
    by_problem: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not sample.written:  # a text solves nothing
            by_problem[folded(sample.problem.prompt)].append(sample)
    if any(group[0].problem.author for group in by_problem.values()):
        for row in known.rows:
            archive.add("", row.response, row.id)
    for prompt, group in by_problem.items():
        telling = [s for s in group if s.problem.author and len(equations_of(s.response)) >= TELLING]
        for problem, asked in ((prompt, group if prompt in solved else []), ("", telling)):
            names = {sample.id: archive.name_of(problem, sample.response) for sample in asked}
            found |= {key: Repeat("known path", name) for key, name in names.items() if name}
        for sample in telling:
            archive.add("", sample.response, example_id(sample))
    return found


def find_near_duplicates(samples: Sequence[Sample], known: Known) -> dict[str, Repeat]:
    """Samples that are an earlier row in all but a few words, the problem's or the response's."""
    taught = [f"{row.prompt}\n{row.response}" for row in known.rows if row.origin == "demonstration"]
    rows = (Row(row.id, row.response, row.prompt) for row in known.rows)
    novelty = Novelty(rows, common=[*known.exams.prompts, *taught])
    ids = {example_id(sample): sample.id for sample in samples}
    new = (Row(example_id(s), s.response, s.problem.prompt) for s in samples)
    return {
        ids[key]: Repeat("near-duplicate of an earlier row", twin.id, round(twin.similarity, 3))
        for key, twin in novelty.sift(new)
        if twin
    }


def example_id(sample: Sample) -> str:
    """The id of the example that the sample becomes."""
    return digest("example", sample.problem.prompt, sample.response)


def _of_same_problems(samples: Iterable[Sample], known: Known) -> list[Example]:
    """Rows trained on before whose problems the samples answer again."""
    asked = {folded(sample.problem.prompt) for sample in samples}
    return [row for row in known.rows if folded(row.prompt) in asked]


def _words(prompt: str, response: str) -> tuple[str, str]:
    return folded(prompt), folded(response)
