"""The catalogue: every strategy there is, with what it is good for and what it costs, as an orchestrator is told."""

from __future__ import annotations

from collections.abc import Mapping

from agents.briefs import REJECTION_SAMPLING, StrategyBrief
from agents.writers.catalogue import WRITERS

PRACTICE = (
    "allotments (cell, problems, samples a problem 1 to 64), temperature 0 to 2, keep_per_problem 1 to 64, "
    "most_rows, skip_solved, "
)
COMPUTE_MATCHED = StrategyBrief(
    name="compute_matched",
    good_for="finding out which of several samplers teaches more for its cost: of each problem the cheaper one draws "
    "more samples, so that all cost the same. Cheap samplers solve more problems in more ways, and err more",
    costs="as many times the cost of rejection sampling as there are samplers; samples counts the dearest's",
    settings=f"{PRACTICE}samplers (two or more), instructions",
)
ARBITRATION = StrategyBrief(
    name="arbitration",
    good_for="several teachers that are good at different things: each problem goes to the one that suits it",
    costs="routing reward: every teacher answers every problem; fixed and learned: one does",
    settings=f"{PRACTICE}teachers (two or more), routing: fixed (by cell), reward (the best answer is kept) or "
    "learned (told from the problem), instructions",
)
CATALOGUE: Mapping[str, StrategyBrief] = {
    brief.name: brief for brief in (REJECTION_SAMPLING, COMPUTE_MATCHED, ARBITRATION, *WRITERS.values())
}
