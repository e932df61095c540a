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
AGENTIC_SELF_INSTRUCT = StrategyBrief(
    name="agentic_self_instruct",
    good_for="hard questions out of documents, at the edge of what the weak solver can do: kept are those that it "
    "fails and the strong solver answers, each with that answer. The most careful of all, and the dearest",
    costs="count x rounds x attempts of both solvers at the most, and as many marks where a judge marks; a question "
    "that is too easy costs no strong attempt. Published: 6.6 questions tried for one accepted, about 60 calls",
    settings="count (sources, one question each), rounds 1 to 64 (questions tried a source), marked_by (judge or "
    "program; a program compares short answers), bands: blog_early_cs, blog_early_meta, blog_later, paper_cs, "
    "verifiable (majorities), paper_science, paper_legal (spread of the weak attempts), or numbers of your own "
    '({"name", "weak_samples", "strong_samples", "weak_mean_below", "strong_mean_least", "gap_least", ...}); '
    "calibrate (true: a pilot moves the bar for the weak mean to the weak solver, once in a run), "
    "strong_sees_source, strong_samples 1 to 64 (the most frequent answer is the attempt; needs program), "
    "temperature 0 to 2, max_tokens 64 to 16384, instructions (for the challenger; they name no solver), writer, "
    "keep_per_problem 1 to 64, most_rows",
)
CATALOGUE: Mapping[str, StrategyBrief] = {
    brief.name: brief
    for brief in (REJECTION_SAMPLING, COMPUTE_MATCHED, ARBITRATION, *WRITERS.values(), AGENTIC_SELF_INSTRUCT)
    if brief.name != "magpie"  # needs a talker that goes on with a bare text, and none does yet
}
