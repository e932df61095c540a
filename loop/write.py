"""Write: where a plan says so, a model writes new problems and texts, from documents, demonstrations and failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.replies import Plan
from agents.strategies import Practice
from agents.writers import Order, Source
from agents.writers.recipes import RECIPES, write
from agents.writers.settings import AgenticSelfInstruct, Writing
from loop.accepted import pieces_of
from loop.bench import Bench
from loop.earlier import Earlier
from loop.players import talking
from loop.records import Sample, digest
from loop.room import WRITTEN, Room
from loop.written import Piece, Sought

AT_ONCE = 16
"""Questions at once, at the most; an endpoint is asked no faster than it stands."""


def write_pieces(plan: Plan, sought: Sequence[Sought], earlier: Earlier, room: Room, bench: Bench) -> list[Piece]:
    """All that the plan's strategies write, what came to nothing among it; nothing where none of them writes.

    Args: sought: what agentic self-instruct came to, which is written down here beside the others.
    """
    pieces: list[Piece] = []
    for place, strategy in enumerate(plan.strategies):
        if isinstance(strategy, AgenticSelfInstruct):
            pieces += [piece for row in sought if row.place == place for piece in pieces_of(row)]
        if isinstance(strategy, Practice | AgenticSelfInstruct):
            continue
        seat = bench.writer(strategy.writer)
        order = Order(
            seed=bench.seed,
            round=room.name,
            settings=strategy,
            sources=tuple(sources_of(strategy, earlier, bench)),
            first=earlier.tried[strategy.kind],
            place=bench.answer,
            at_once=AT_ONCE,
        )
        with talking(seat, "challenger", room, WRITTEN, bench) as talker:
            for row in write(order, talker):
                pieces.append(Piece.of(place, strategy.kind, seat.name, row))
                bench.crew.tick()
                room.screen.progress(len(pieces), strategy.count, "writing")
    return pieces


def sources_of(strategy: Writing, earlier: Earlier, bench: Bench) -> Iterator[Source]:
    """What a strategy may start from. None of it holds a problem of an exam."""
    needs = RECIPES[strategy.kind].needs
    if "extract" in needs and bench.extracts:
        yield from (Source(e.id, "extract", e.text, e.title) for e in bench.extracts.all)
    if "demonstration" in needs:
        for row in bench.demonstrations:
            yield Source(digest("source", row.prompt, row.response), "demonstration", row.prompt, answer=row.response)
    if "failure" in needs:
        for sample in earlier.failures:
            if not bench.exams.match(sample.problem.prompt, sample.response):
                yield failure_source(sample)


def failure_source(sample: Sample) -> Source:
    """A wrong attempt at a problem of the objective."""
    problem = sample.problem
    return Source(
        problem.id, "failure", problem.prompt, answer=problem.answer, wrong=sample.response,
        synthetic=bool(problem.author),
    )  # fmt: skip
