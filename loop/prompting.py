"""Prompting: what a sampler is told of a problem."""

from __future__ import annotations

from agents.prompts import Prompt
from loop.bench import Bench
from loop.extracts import sample_prompt
from loop.objective import Demonstration
from loop.records import Cell, Problem, digest
from loop.seats import Seat

EXAMPLES = 2
"""Demonstrations in the prompt of a sampler that is not the student."""
EXTRACTS = 2
"""Extracts of documents that a prompt quotes at most."""


def prompt_for(problem: Problem, sampler: Seat, instructions: str, bench: Bench) -> Prompt:
    """What a sampler is told: the student the bare problem, as it is trained on; any other how to answer."""
    if sampler.name == "student":
        return Prompt(problem.prompt, "")
    seed = bench.seed_for("extracts", problem.id)
    return sample_prompt(
        problem.prompt,
        place=bench.tasks.sources[problem.source].answer,
        examples=examples_for(problem, bench),
        instructions=instructions,
        extracts=bench.extracts.nearest(problem.prompt, EXTRACTS, seed) if bench.extracts else (),
    )


def examples_for(problem: Problem, bench: Bench) -> tuple[Demonstration, ...]:
    """The demonstrations that show a sampler how to answer: of the problem's cell if there are any, else of its
    skill, else any; the same for every problem of a cell, so that an endpoint can keep the prompt's beginning.
    """
    rows = sorted(bench.demonstrations, key=lambda row: digest(row.prompt, row.response))
    cell = [row for row in rows if Cell(row.skill or "", row.level) == problem.cell]
    skill = [row for row in rows if row.skill == problem.skill]
    return tuple((cell or skill or rows)[:EXAMPLES])
