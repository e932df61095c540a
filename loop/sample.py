"""Sample: the sampler writes candidates for practice problems, many and cheap."""

from __future__ import annotations

from agents.prompts import Prompt
from agents.replies import Allotment, Plan, RejectionSampling
from loop.bench import Bench, Earlier
from loop.extracts import sample_prompt
from loop.records import Cell, Checkpoint, Problem, Sample, digest
from loop.room import SAMPLES, Room
from loop.seats import Draw, Seat

EXTRACTS = 2
"""Extracts of documents that a prompt quotes at most."""


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
    prompts: dict[str, str] = {}
    template = ""
    for allotment in strategy.allotments:
        for problem in _problems(allotment, earlier, room, bench):
            prompt = _prompt(problem, strategy, sampler, bench)
            template = prompt.digest
            for number in range(allotment.samples):
                key = digest("sample", room.name, place, problem.id, number)
                problems[key], prompts[key] = problem, prompt.text
    return Draw(sampler, problems, prompts, template, strategy.temperature, strategy.kind)


def _prompt(problem: Problem, strategy: RejectionSampling, sampler: Seat, bench: Bench) -> Prompt:
    """What the sampler is told: the student the bare problem, as it is trained on; any other model how to answer."""
    if sampler.name == "student":
        return Prompt(problem.prompt, "")
    seed = bench.seed_for("extracts", problem.id)
    return sample_prompt(
        problem.prompt,
        place=bench.tasks.sources[problem.source].answer,
        examples=bench.examples_for(problem),
        instructions=strategy.instructions,
        extracts=bench.extracts.nearest(problem.prompt, EXTRACTS, seed) if bench.extracts else (),
    )


def _problems(allotment: Allotment, earlier: Earlier, room: Room, bench: Bench) -> list[Problem]:
    cell = Cell(allotment.skill, allotment.level)
    seed = bench.seed_for(room.name, "practice", *cell)
    found = bench.tasks.draw(cell, allotment.problems, seed, earlier.seen)
    if len(found) < allotment.problems:
        taken = {problem.id for problem in found}
        again = bench.tasks.draw(cell, allotment.problems, seed, earlier.solved)
        found += [p for p in again if p.id not in taken][: allotment.problems - len(found)]
    return found
