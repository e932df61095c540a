"""Tried: attempts of all rounds that are known to be right or wrong, read from their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from loop.files import iterate_rows
from loop.gold import KNOWN_WRONG
from loop.records import Critique, Sample, digest
from loop.room import CRITIQUES, SAMPLES
from loop.run import Run
from loop.verifiers import extract_answer


class Tried(NamedTuple):
    """An attempt at a problem that is known to be right or wrong."""

    id: str
    round: int
    prompt: str
    text: str
    answer: str | None
    right: bool


def all_tried(run: Run, number: int, samples: Sequence[Sample], critiques: Sequence[Critique]) -> Iterator[Tried]:
    """The demonstrations, and of the round at work and all before it the attempts that a verifier decided on.

    Empty, truncated and unanswered ones are errors, and what a critic alone refused is not known to be wrong.
    """
    places = run.bench.judge.places
    for row in run.bench.demonstrations:
        key, text = digest("demonstration", row.prompt, row.response), row.response.strip()
        yield Tried(key, 0, row.prompt, text, extract_answer(text, run.bench.answer), True)
    rounds: list[tuple[int, Iterable[Sample], Iterable[Critique]]] = []
    for closed in run.ledger.rounds():
        room = run.room(f"{closed.round:03}")
        if room.has(CRITIQUES):
            files = (room.folder / SAMPLES.file, room.folder / CRITIQUES.file)
            rounds.append((closed.round, iterate_rows(files[0], Sample), iterate_rows(files[1], Critique)))
    for when, drawn, judged in (*rounds, (number, samples, critiques)):
        for sample, critique in zip(drawn, judged, strict=True):
            if critique.passed or critique.reason in KNOWN_WRONG:
                text, problem = sample.response.strip(), sample.problem
                answer = extract_answer(text, places[problem.source])
                yield Tried(sample.id, when, problem.prompt, text, answer, critique.passed)
