"""Pieces: how what a strategy wrote becomes samples. Problems are answered and voted on; texts stand as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.choices import VOTES
from agents.replies import Strategy
from agents.writers import Kind, Source, Written
from agents.writers.texts import pair_one_to_one
from loop.bench import Bench
from loop.earlier import Earlier
from loop.prompting import prompt_for
from loop.records import Problem, Sample, digest
from loop.room import Room
from loop.seats import Draw, Seat
from loop.tasks import folded
from loop.written import Piece


def kinds_at_hand(bench: Bench) -> set[Kind]:
    """Kinds of sources that a round can start from."""
    kinds: dict[Kind, bool] = {
        "failure": True, "demonstration": bool(bench.demonstrations), "extract": bench.extracts is not None
    }  # fmt: skip
    return {kind for kind, there in kinds.items() if there}


def answers_to(
    place: int, strategy: Strategy, pieces: Sequence[Piece], earlier: Earlier, solver: Seat, room: Room, bench: Bench
) -> Draw:
    """Independent answers to every written problem, by whose vote it is labelled (see loop/labels.py)."""
    of_failure = {sample.problem.id: sample.problem for sample in earlier.failures}
    problems: dict[str, Problem] = {}
    prompts: dict[str, str] = {}
    template = ""
    for piece in pieces:
        if piece.place != place or piece.written is None or piece.is_text:
            continue
        problem = problem_of(piece.written, piece.author, of_failure)
        prompt = prompt_for(problem, solver, strategy.instructions, bench)
        template = prompt.digest
        for number in range(VOTES):
            key = digest("vote", room.name, place, problem.id, number)
            problems[key], prompts[key] = problem, prompt.text
    return Draw(solver, problems, prompts, template, strategy.temperature, strategy.kind, place)


def problem_of(written: Written, author: str, of_failure: Mapping[str, Problem]) -> Problem:
    """A written problem: of the cell of the failed one that it varies, else of its author's own."""
    seed = of_failure.get(written.parent)
    return Problem(
        id=digest("problem", folded(written.prompt)),
        prompt=written.prompt,
        answer="",
        skill=seed.skill if seed else author,
        level=seed.level if seed else None,
        source=seed.source if seed else 0,
        origin=(0, 0),
        author=author,
        parent=written.parent,
    )


def texts_of(pieces: Sequence[Piece], bench: Bench) -> list[Sample]:
    """Written texts as samples; beside rephrased ones their originals, one to one (WRAP, arXiv 2401.16380)."""
    texts = [text_of(piece, piece.written) for piece in pieces if piece.written and piece.is_text]
    rephrased = [piece for piece in pieces if piece.author == "rephrase" and piece.written]
    originals = [Source(e.id, "extract", e.text) for e in bench.extracts.all] if bench.extracts else []
    by_key = {piece.written.key: piece for piece in rephrased if piece.written}
    for original, row in pair_one_to_one(originals, [p.written for p in rephrased if p.written], bench.seed):
        itself = row.model_copy(update={"key": digest("original", row.key), "response": original.text, "lineage": ()})
        texts.append(text_of(by_key[row.key], itself))
    return texts


def text_of(piece: Piece, written: Written) -> Sample:
    """A text that is learnt as it was written; what it cost stands among the talks.

    Answers to an accepted question share its problem, whose answer the verifiers go by where a program marks.
    """
    key = ("problem", folded(written.prompt)) if piece.question else ("text", written.prompt, written.response)
    known = Problem(
        id=digest(*key), prompt=written.prompt, answer=written.answer, skill=piece.author,
        source=0, origin=(0, 0), author=piece.author, parent=written.parent,
    )  # fmt: skip
    return Sample(
        id=written.key, problem=known, response=written.response, finish="stop", prompt_tokens=0,
        completion_tokens=0, strategy=piece.author, place=piece.place, sampler=piece.model,
        template=written.lineage[-1].prompt if written.lineage else "", written=True, judged=piece.judged,
    )  # fmt: skip
