"""Sample: the sampler writes candidates for practice problems, many and cheap."""

from __future__ import annotations

from agents.replies import Allotment, Plan, RejectionSampling
from loop.bench import Bench, Draw, Earlier
from loop.records import Cell, Checkpoint, Problem, Sample, digest
from loop.room import SAMPLES, Room


def draw_samples(plan: Plan, best: Checkpoint, earlier: Earlier, room: Room, bench: Bench) -> list[Sample]:
    """As many samples of as many fresh problems as the plan allots to each cell.

    Problems never drawn come first; in a cell that runs out, those never solved come again.
    """
    draws = [_draw(place, strategy, best, earlier, room, bench) for place, strategy in enumerate(plan.strategies)]
    return bench.draw(room, SAMPLES, draws, limited=True)


def _draw(
    place: int, strategy: RejectionSampling, best: Checkpoint, earlier: Earlier, room: Room, bench: Bench
) -> Draw:
    sampler = bench.sampler(strategy.sampler, best)
    problems: dict[str, Problem] = {}
    for allotment in strategy.allotments:
        for problem in _problems(allotment, earlier, room, bench):
            for number in range(allotment.samples):
                problems[digest("sample", room.name, place, problem.id, number)] = problem
    return Draw(sampler, problems, temperature=strategy.temperature, strategy=strategy.kind)


def _problems(allotment: Allotment, earlier: Earlier, room: Room, bench: Bench) -> list[Problem]:
    cell = Cell(allotment.skill, allotment.level)
    seed = bench.seed_for(room.name, "practice", *cell)
    found = bench.tasks.draw(cell, allotment.problems, seed, earlier.seen)
    if len(found) < allotment.problems:
        taken = {problem.id for problem in found}
        again = bench.tasks.draw(cell, allotment.problems, seed, earlier.solved)
        found += [p for p in again if p.id not in taken][: allotment.problems - len(found)]
    return found
