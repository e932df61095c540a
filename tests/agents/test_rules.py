"""The orchestrator `rules` and its baseline: valid plans, honest thrift, and eyes for what the counts say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import EVEN, SKEWED, SKILL, Law, World, play, tokens_to

from agents.briefs import BudgetLeft, CellBrief, Evidence, PlanBrief, RoundBrief, Tally
from agents.catalogue import CATALOGUE
from agents.choices import check_plan
from agents.replies import Diagnosis, FailureMode, Plan
from agents.rules import TILT, Rules
from agents.standings import bound, greedy_gap, standings
from agents.training import DIVERGED
from agents.uniform import SAMPLES_EACH, Uniform, spread

SEEDS = range(4)
LAWS = [{}, {"repeats": 0.6, "epochs": 6.0}, {"transfer": 0.1, "epochs": 1.0}, {"transfer": 0.7, "gap": 1.5}]


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


def drawn_by(strategy) -> dict[object, int]:
    """The same of one strategy."""
    return {a.level: a.problems * a.samples for a in strategy.allotments}


def mode(level, share, kind="wrong step"):
    name = f"{kind} in {SKILL} at level {level}"
    return FailureMode(name=name, kind=kind, skill=SKILL, level=level, count=9, share=share, advice="practise")


# Scripted students.


@pytest.mark.parametrize("seed", SEEDS)
def test_most_samples_go_to_learning_cells_and_some_back_to_one_that_forgets(seed):
    # mechanisms.md §7.3 CHECK
    starts = (0.97, 0.96, 0.98, 0.5, 0.4, 0.3, 0.01, 0.01, 0.01)
    world = World(Law(starts=starts, pace=(0.5,) * 3 + (0.4,) * 3 + (0.0,) * 3), seed)
    for _ in range(3):
        world.round(Rules())
    settled = drawn(Rules().plan(world.brief()))
    assert sum(settled[level] for level in (3, 4, 5)) > 0.75 * sum(settled.values())

    world.best.lost[1] = 4.0  # greedy 0.98 falls to about 0.5
    seen = {"probe": world.attempts(world.best), "dev_cells": world.sit(world.best)}
    world.history[-1] = world.history[-1].model_copy(update=seen)
    again = drawn(Rules().plan(world.brief()))
    assert settled[1] < 0.25 * settled[4]
    assert again[1] > 0.3 * again[4]


def ratios(law):
    """Tokens that the rules need for the baseline's last score, against the baseline's, by seed."""
    for seed in SEEDS:
        uniform, rules = play(Uniform(), law, 4, seed), play(Rules(), law, 16, seed)
        yield tokens_to(rules, uniform.dev[-1]) / uniform.tokens[-1]


@pytest.mark.parametrize("more", LAWS)
def test_even_family_reaches_the_baseline_with_no_more_tokens(more):
    assert max(ratios(replace(EVEN, **more))) <= 1


@pytest.mark.parametrize("more", LAWS)
def test_skewed_family_needs_at_most_four_fifths_of_the_tokens(more):
    found = list(ratios(replace(SKEWED, **more)))
    assert sum(found) / len(found) <= 0.8


def test_frontier_moves_up():
    law = Law(starts=(0.9, 0.4, 0.05, 0.005, 0.001), pace=(0.9,) * 5, transfer=0.6)
    world = World(law)
    shares = []
    for _ in range(12):
        counts = drawn(world.round(Rules()))
        shares.append(counts.get(3, 0) / sum(counts.values()))
    assert shares[0] < 0.1 < 0.2 < max(shares)


# What a plan answers to.


def test_same_brief_same_plan():
    told = brief(start(0.5, 0.4, 0.3))
    assert Rules().plan(told) == Rules().plan(told)


@given(st.lists(st.sampled_from([0.0, 0.3, 0.6, 1.0]), min_size=3, max_size=3), st.integers(0, 2))
def test_plan_sees_the_probe(rates, level):
    # DataEnvGym's check (mechanisms.md §7.2): only a blinded planner plans the same whatever the scores
    other = [*rates[:level], (rates[level] + 0.5) % 1, *rates[level + 1 :]]
    sighted = [Rules().plan(brief(start(*scores))) for scores in (rates, other)]
    blinded = [Uniform().plan(brief(start(*scores))) for scores in (rates, other)]
    assert drawn(sighted[0]) != drawn(sighted[1])
    assert blinded[0] == blinded[1]


def test_plan_sees_the_diagnosis_and_says_what_it_answers():
    told = brief(start(0.5, 0.5, 0.0))
    modes = (mode(0, 0.5), mode(2, 1.0))
    sighted = Rules().plan(told.model_copy(update={"diagnosis": Diagnosis(attempts=30, wrong=18, modes=modes)}))
    assert sighted.answers == (modes[0].name,)
    assert drawn(sighted) != drawn(Rules().plan(told))
    assert drawn(sighted)[0] > drawn(sighted)[1]
    cut = Rules().plan(
        told.model_copy(update={"diagnosis": Diagnosis(attempts=30, wrong=9, modes=(mode(1, 0.5, "cut off"),))})
    )
    assert drawn(cut)[0] > drawn(cut)[1]


def rounds_of(status, dev_rate, probe_rate, levels=3, tried=60):
    """A first round after a start at one half, with its dev and probe scores."""
    first = start(*[0.5] * levels)
    plan = Uniform().plan(brief(first, levels=levels))
    scores = [tuple(tally(n, round(rate * tried), tried) for n in range(levels)) for rate in (dev_rate, probe_rate)]
    samples = tuple(tally(n, 200, 500, 20_000) for n in range(levels))
    return first, RoundBrief(
        round=1,
        status=status,
        plan=plan,
        samples=samples,
        dev_cells=scores[0],
        probe=scores[1],
        examples_kept=300,
    )


def test_dev_score_of_a_discarded_student_is_not_the_best_ones():
    assert drawn(Rules().plan(brief(*rounds_of("discarded", 0.0, 0.5)))) == drawn(
        Rules().plan(brief(*rounds_of("discarded", 1.0, 0.5)))
    )
    assert drawn(Rules().plan(brief(*rounds_of("kept", 0.0, 0.5)))) != drawn(
        Rules().plan(brief(*rounds_of("kept", 1.0, 0.5)))
    )


def test_few_attempts_leave_a_cell_with_the_rest():
    few = Rules().plan(brief(start(1.0, 0.5, 0.0, tried=3)))
    many = Rules().plan(brief(start(1.0, 0.5, 0.0, tried=100)))
    assert min(drawn(few).values()) > 0.3 * max(drawn(few).values())
    assert max(drawn(many)[0], drawn(many)[2]) < 0.2 * drawn(many)[1]


def test_a_barren_cell_above_a_good_one_gets_more_than_one_above_a_barren_one():
    counts = drawn(Rules().plan(brief(start(0.9, 0.0, 0.0, tried=200))))
    assert counts[1] > 1.5 * counts[2] > 0


def test_nothing_known_is_nearly_the_baseline():
    counts = drawn(Rules().plan(brief()))
    assert len(set(counts.values())) <= 2
    assert sum(counts.values()) <= 6000


def test_learning_cells_stay_near_even():
    assert TILT <= 0.2
    named = Diagnosis(attempts=30, wrong=9, modes=(mode(1, 1.0),))
    told = brief(start(0.8, 0.5, 0.2), diagnosis=named)
    plan = Rules().plan(told)
    rows = [drawn(plan)[cell.cell.level] * cell.sampled for cell in standings(told)]
    even = [1 - (1 - cell.sampled) ** SAMPLES_EACH for cell in standings(told)]
    shares = [row / base for row, base in zip(rows, even, strict=True)]
    assert shares[1] == max(shares)
    assert 1.1 < max(shares) / min(shares) <= (1 + TILT) / (1 - TILT) + 0.01


def test_older_counts_weigh_less_but_are_not_lost():
    then = start(0.5, 0.5, 0.5, tried=400)
    now = RoundBrief(round=1, status="kept", probe=tuple(tally(n, 14, 20) for n in range(3)))
    kept = standings(brief(then, now))[0].mean
    discarded = standings(brief(then, now.model_copy(update={"status": "discarded"})))[0].mean
    assert discarded < 0.52 < 0.54 < kept < 0.65
    rising = RoundBrief(round=1, status="kept", probe=tuple(tally(n, 240, 400) for n in range(3)))
    unseen = RoundBrief(round=2, status="kept")
    assert standings(brief(start(0.3, 0.3, 0.3, tried=400), rising, unseen))[0].mean > 0.47


def test_solved_cells_are_rehearsed_less_than_others_and_all_no_more_than_the_new_rows_allow():
    world = World(Law(starts=(0.8, 0.4, 0.3), pace=(2.0, 0.2, 0.2), transfer=0.0))
    for _ in range(4):
        plan = world.round(Rules())
    shares = {cell.level: cell.share for cell in plan.mixture.rehearse}
    others = [shares.get(level, 1.0) for level in (1, 2)]
    assert 0 < shares[0] < 0.7 * min(others)
    for _ in range(6):
        plan = world.round(Rules())
    later = {cell.level: cell.share for cell in plan.mixture.rehearse}
    assert later[1] == later[2] < 0.6 * min(others)
    assert not Rules().plan(world.brief().model_copy(update={"start": "base"})).mixture.rehearse


def test_rows_from_another_sampler_keep_a_cell_alive_that_the_student_fails():
    first, later = rounds_of("discarded", 0.0, 0.0)
    first = start(0.0, 0.0, 0.0)
    assert all(cell.alive == 1 for cell in standings(brief(first, later)))


# Budgets and pools.


def cost(plan, tokens=40):
    return tokens * sum(drawn(plan).values())


def test_little_budget_left_means_a_smaller_round():
    history = rounds_of("kept", 0.6, 0.6)
    whole = Rules().plan(brief(*history))
    tight = Rules().plan(brief(*history, budget=BudgetLeft(tokens=50_000)))
    late = Rules().plan(brief(*history, budget=BudgetLeft(seconds=20.0)))
    assert cost(tight) < 50_000 < cost(whole)
    assert 0 < cost(late) < 0.3 * cost(whole)
    assert drawn(Rules().plan(brief(*history, budget=BudgetLeft(tokens=0, seconds=0.0))))


def test_failed_rounds_make_the_next_one_smaller():
    history = rounds_of("kept", 0.6, 0.6)
    failed = [RoundBrief(round=2 + n, status="failed", reason="MemoryError") for n in range(2)]
    sizes = [cost(Rules().plan(brief(*history, *failed[:n]))) for n in range(3)]
    assert sizes[0] == pytest.approx(2 * sizes[1], rel=0.01)
    assert sizes[1] == pytest.approx(2 * sizes[2], rel=0.01)


def test_a_pool_that_is_too_small_gets_more_samples_of_each_problem():
    told = brief(start(0.5, 0.5, 0.5), left=60, budget=BudgetLeft(rounds=2), samples_per_round=3000)
    allotments = Rules().plan(told).strategies[0].allotments
    assert all(a.problems <= 60 and 1 < a.samples <= SAMPLES_EACH for a in allotments)
    assert all(a.problems <= 7 for a in Rules().plan(brief(start(0.5, 0.5, 0.5), left=7)).strategies[0].allotments)


def test_who_is_there_to_draw_decides_how_cells_are_practised():
    told = brief(start(0.5, 0.5, 0.5), samples_per_round=3000, catalogue=tuple(CATALOGUE.values()))
    alone = Rules().plan(told)
    assert alone.strategies[0].kind == "rejection_sampling" and alone.strategies[0].keep_per_problem == 1
    small = told.model_copy(update={"cells": tuple(c.model_copy(update={"left": 60}) for c in told.cells)})
    (again,) = Rules().plan(small).strategies
    assert again.keep_per_problem == max(a.samples for a in again.allotments) > 1, "each path of a problem is a row"
    two = told.model_copy(update={"samplers": ("student", "small")})
    (matched,) = Rules().plan(two).strategies
    assert matched.kind == "compute_matched" and matched.samplers == ("student", "small")
    spent = {level: 2 * count for level, count in drawn_by(matched).items()}
    assert all(0 <= spent[level] - count < 2 for level, count in drawn(alone).items()), "both cost what one would"
    (shared,) = Rules().plan(two.model_copy(update={"teachers": ("one", "other")})).strategies
    assert shared.kind == "arbitration" and shared.routing == "learned" and drawn_by(shared) == drawn(alone)
    for plan in (alone, Rules().plan(small), Rules().plan(two)):
        check_plan(plan, two if plan.strategies[0].kind == "compute_matched" else told)


def test_empty_pools_say_so():
    for told in (
        brief(start(0.5, 0.5, 0.5), left=0),
        brief(levels=1, left=0),
        PlanBrief(objective="", cells=(), history=()),
    ):
        plan = Rules().plan(told)
        assert plan.strategies == ()
        assert "Nothing can be sampled" in plan.hypothesis


levels = st.one_of(st.none(), st.integers(-3, 12), st.sampled_from(["easy", "hard"]))
counts = st.integers(0, 800)


@st.composite
def tallies(draw, keys):
    found = []
    for skill, level in draw(st.lists(st.sampled_from(keys), max_size=6)):
        tried = draw(counts)
        passed = draw(st.integers(0, tried))
        found.append(Tally(skill=skill, level=level, tried=tried, passed=passed, tokens=draw(st.integers(0, 10**5))))
    return tuple(found)


@st.composite
def briefs(draw):
    keys = draw(st.lists(st.tuples(st.sampled_from("ab"), levels), min_size=1, max_size=6, unique=True))
    left = st.one_of(st.none(), st.integers(0, 900))
    shares = st.floats(0, 1)
    cells = tuple(
        CellBrief(skill=s, level=n, share=draw(shares), left=draw(left), demonstrations=draw(counts)) for s, n in keys
    )
    history: list[RoundBrief] = []
    told = {
        "objective": "",
        "samples_per_round": draw(st.sampled_from([0, 7, 200, 6000])),
        "epochs": draw(st.floats(0.1, 10)),
        "budget": BudgetLeft(
            rounds=draw(st.one_of(st.none(), st.integers(0, 9))),
            tokens=draw(st.one_of(st.none(), st.integers(0, 10**7))),
            seconds=draw(st.one_of(st.none(), st.floats(0, 1e4))),
        ),
    }
    for number in range(draw(st.integers(0, 4))):
        planner = draw(st.sampled_from([None, Rules(), Uniform()]))
        plan = planner.plan(PlanBrief(cells=cells, history=tuple(history), **told)) if planner and number else None
        status = draw(st.sampled_from(["kept", "discarded", "failed"])) if number else "start"
        history.append(
            RoundBrief(
                round=number,
                status=status,
                plan=plan,
                dev_cells=draw(tallies(keys)),
                samples=draw(tallies(keys)),
                probe=draw(tallies(keys)),
                examples_kept=draw(counts),
            )
        )
    named = draw(st.lists(st.sampled_from(keys), max_size=3, unique=True))
    modes = tuple(
        FailureMode(
            name=f"{k}",
            kind=draw(st.sampled_from(["cut off", "no answer", "wrong step"])),
            skill=k[0],
            level=k[1],
            count=1,
            share=draw(shares),
            advice="",
        )
        for k in named
    )
    diagnosis = draw(st.sampled_from([None, Diagnosis(attempts=9, wrong=len(modes), modes=modes)]))
    return PlanBrief(cells=cells, history=tuple(history), diagnosis=diagnosis, **told)


@settings(max_examples=150)
@given(briefs())
def test_plans_are_valid_whatever_the_history(told):
    left = {(cell.skill, cell.level): cell.left for cell in told.cells}
    for planner in (Rules(), Uniform()):
        plan = planner.plan(told)
        assert Plan.model_validate(plan.model_dump()) == plan
        allotments = list(plan.allotments)
        keys = [(a.skill, a.level) for a in allotments]
        assert len(set(keys)) == len(keys)
        assert all(
            a.problems >= 1 and (left[k] is None or a.problems <= left[k])
            for a, k in zip(allotments, keys, strict=True)
        )
        assert sum(a.problems * a.samples for a in allotments) <= told.samples_per_round + SAMPLES_EACH
        assert 0.001 <= plan.training.epochs <= max(told.epochs, 0.01)
        assert (
            set(plan.answers) <= {mode.name for mode in told.diagnosis.modes} if told.diagnosis else not plan.answers
        )
    assert bool(Rules().plan(told).strategies) == any(n is None or n > 0 for n in left.values())


# Estimates.


@pytest.mark.parametrize(("passed", "tried"), [(0, 10), (10, 10), (3, 10), (33, 33), (0, 53), (50, 53), (200, 667)])
@pytest.mark.parametrize("errors", [-1.28, -0.67, 0.67, 1.28])
def test_bound_is_nearly_the_quantile_of_the_beta_posterior(passed, tried, errors):
    grid = [(n + 0.5) / 20_000 for n in range(20_000)]
    logs = [(passed - 0.5) * math.log(p) + (tried - passed - 0.5) * math.log1p(-p) for p in grid]
    top = max(logs)
    mass = list(itertools.accumulate(math.exp(value - top) for value in logs))
    wanted = 0.5 * (1 + math.erf(errors / math.sqrt(2))) * mass[-1]
    quantile = next(p for p, below in zip(grid, mass, strict=True) if below >= wanted)
    assert bound(passed, tried, errors) == pytest.approx(quantile, abs=0.06 if tried == 10 else 0.02)


def test_bounds_without_attempts_say_nothing():
    assert (bound(0, 0, -1.28), bound(0, 0, 1.28)) == (0, 1)


def test_gap_between_greedy_answers_and_samples_is_measured():
    first = start(0.5, 0.5, 0.5, tried=200)
    wide = RoundBrief(round=1, status="kept", samples=tuple(tally(n, 60, 500) for n in range(3)))
    none = RoundBrief(round=1, status="kept", samples=tuple(tally(n, 250, 500) for n in range(3)))
    assert greedy_gap([first, none]) < greedy_gap([first]) < greedy_gap([first, wide])


# The baseline.


def test_baseline_is_even():
    plan = Uniform().plan(brief(start(1.0, 0.5, 0.0), epochs=2.5))
    allotments = plan.strategies[0].allotments
    assert {(a.problems, a.samples) for a in allotments} == {(500, 4)}
    assert (plan.training.epochs, plan.mixture.rehearse) == (2.5, ())


def test_with_more_cells_than_problems_each_has_its_turn():
    total = [0] * 10
    for number in range(50):
        counts = spread([0.3] * 10, number)
        assert sum(counts) in (3, 4)
        total = [before + count for before, count in zip(total, counts, strict=True)]
    assert min(total) > 0.5 * max(total) > 0


# Diagnosis.


def attempt(level, correct=False, kind="", detail="", response="1+1=3 #### 3", finish="stop"):
    return Evidence(
        skill=SKILL,
        level=level,
        prompt="1+1",
        answer="2",
        response=response,
        correct=correct,
        finish=finish,
        kind=kind,
        detail=detail,
    )


def test_diagnosis_groups_by_cell_and_kind_with_shares_of_all_attempts():
    attempts = [attempt(1, correct=True)] * 4 + [attempt(1, detail=f"step {n}") for n in range(5)]
    attempts += [attempt(1, response=" ")] + [attempt(2, kind="wrong format")] * 2 + [attempt(3, finish="length")]
    for planner in (Rules(), Uniform()):
        found = planner.diagnose(attempts)
        assert (found.attempts, found.wrong) == (13, 9)
        assert [(m.kind, m.level, m.count, m.share) for m in found.modes] == [
            ("wrong step", 1, 5, 0.5),
            ("wrong format", 2, 2, 1.0),
            ("cut off", 3, 1, 1.0),
            ("no answer", 1, 1, 0.1),
        ]
        assert len(found.modes[0].examples) == 3
        assert "step 0" in found.modes[0].examples[0]
        assert len({m.name for m in found.modes}) == 4
        assert all("{" not in m.advice and SKILL in m.advice for m in found.modes)


def test_quotes_are_short_and_clean():
    found = Uniform().diagnose([attempt(1, response="\x1b[31m" + "x\n" * 5000 + "#### 7", detail="d" * 999)])
    quoted = found.modes[0].examples[0]
    assert len(quoted) < 700
    assert quoted.isprintable()
    assert "#### 7" in quoted


def test_nothing_wrong_is_an_empty_diagnosis():
    assert Rules().diagnose([]) == Diagnosis(attempts=0, wrong=0)
    assert Rules().diagnose([attempt(1, correct=True)]).modes == ()


@pytest.mark.parametrize("planner", [Rules(), Uniform()])
def test_the_rate_is_halved_for_each_round_whose_training_diverged(planner):
    rates = []
    rounds = [start(0.5, 0.5)]
    for number, reason in enumerate(("the process died", f"round 2: {DIVERGED}: the loss is nan", DIVERGED), 1):
        rounds.append(RoundBrief(round=number, status="failed", reason=reason))
        rates.append(planner.plan(brief(*rounds)).training.learning_rate_scale)
    assert rates == [1.0, 0.5, 0.25]
