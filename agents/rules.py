"""The orchestrator `rules`: plans from counts alone, with no language model.

It begins at the baseline (`uniform.py`) and leaves it only where the counts leave little doubt:

1. Fresh problems with one sample each, not four samples of each: four samples of one problem hardly differ in
   outcome, so they give one row where four problems give four. Several pay where the problems run out.
2. Solved cells get a small share of the samples and of the rehearsal.
3. Barren cells get a scouting share, and more where the level below goes well (Lee et al., arXiv 2502.01612).
4. Between the cells that learn, rows stay within `TILT` of even: preferring half-solved or unsolved cells
   gained nothing or lost where it was measured, since skills pass between neighbouring levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat, takewhile

from agents.briefs import Evidence, PlanBrief
from agents.replies import CellShare, Diagnosis, FailureMode, Mixture, Plan
from agents.standings import Standing, one_of, rate_of, standings
from agents.strategies import Allotment, Arbitration, ComputeMatched, Practising, RejectionSampling
from agents.uniform import (
    SAMPLES_EACH,
    Key,
    in_groups,
    name_failures,
    name_of,
    spread,
    training_of,
    uniform_problems,
    within,
)

SOLVED_FRESH = 0.06
"""A solved cell's new rows, against the baseline's: enough to notice forgetting."""
SOLVED_MIX = 0.25
"""A solved cell's earlier rows in the mix, against a learning cell's: enough to hold it."""
SCOUT = 0.04
"""A barren cell's samples, against the baseline's: 26 of 667 show a pass rate of 0.1 in 15 of 16 rounds."""
FRONTIER = 0.1
"""The same for a barren cell just above one that always passes; else in proportion to its pass rate."""
REHEARSED = 1.5
"""Earlier rows in the mix, against the new ones, where training goes on from the best: these are only to be held."""
TILT = 0.15
"""How far from even the rows of a learning cell may go."""
ROWS = 0.4
"""New rows of a learning cell, against the baseline's were the outcomes of its samples of a problem independent. They
are not: at a pass rate of 0.2, four samples of each of 3,000 problems solved 697, not 1,770. So this is about as many
rows as the baseline really has, at a third of its samples. Of 0.2, 0.4, 0.7 and 1.25 this rose fastest by tokens."""
BOLDER, BOLDEST = 1.6, 1.25
"""From a discarded round on, so many times the rows, up to so many of the baseline's: a gain too small to be shown is
lost, and as the student gets better the gains of equal rounds get smaller."""
FEWER = 1.12
"""By how much fewer passes are made over what is not demonstrations: fresh rows teach more than repeated ones."""
ROUNDS_AHEAD = 4
"""Rounds that a finite pool of problems is to last, where the objective does not say how many are left."""
HEADROOM = 0.16
"""Share of the learning cells' errors that a round should mend: the default run's first (0.49 to 0.57)."""
LAST_TOKENS = 0.9
"""Share of the tokens left that a round may be planned to cost."""
LAST_SECONDS = 90.0
"""Seconds that a round takes, until one has been played: a round of the default run takes about as long."""


@dataclass(frozen=True, slots=True)
class Portion:
    """What a cell is to get, before budget and pool have their say."""

    of: Standing
    rows: float
    samples: float
    share: float
    """Share of the earlier rows that are rehearsed."""

    @property
    def older(self) -> float:
        """Its demonstrations and the earlier rows that are rehearsed."""
        return self.of.cell.demonstrations + self.share * self.of.stock


class Rules:
    """Plans where practice pays; diagnoses by grouping."""

    def plan(self, brief: PlanBrief) -> Plan:
        """The baseline, less what the counts show to be spent for nothing."""
        portions = apportion(standings(brief), brief)
        scale = affordable(portions, brief)
        counts = spread([portion.samples * scale for portion in portions], len(brief.history))
        allotments = in_groups(map(allot, portions, counts, repeat(brief)), brief) or _least(portions)
        return Plan(
            hypothesis=hypothesis(portions, allotments, brief),
            answers=_answers(portions, allotments, brief.diagnosis),
            strategies=(practise(allotments, brief),) if allotments else (),
            mixture=Mixture(
                rehearse=tuple(
                    CellShare(skill=p.of.cell.skill, level=p.of.cell.level, share=round(p.share, 3))
                    for p in portions
                    if p.share < 1
                )
            ),
            training=training_of(brief, _epochs(portions, brief, scale)),
        )

    def diagnose(self, attempts: Sequence[Evidence]) -> Diagnosis:
        """The failure modes of a probe, largest first."""
        return name_failures(attempts)


def practise(allotments: tuple[Allotment, ...], brief: PlanBrief) -> Practising:
    """Each problem goes to the teacher expected to solve it (arXiv 2408.14960); or samplers draw at equal cost (arXiv
    2408.16737); or one draws alone, and each of its ways to solve a problem is a row (RFT, arXiv 2308.01825).
    """
    offered = {strategy.name for strategy in brief.catalogue}
    if len(brief.teachers) > 1 and "arbitration" in offered:
        return Arbitration(allotments=allotments, teachers=brief.teachers, routing="learned")
    if len(brief.samplers) > 1 and "compute_matched" in offered:
        matched = ComputeMatched(allotments=allotments, samplers=brief.samplers)
        fewer = [a.model_copy(update={"problems": math.ceil(a.problems / matched.weight)}) for a in allotments]
        return matched.model_copy(update={"allotments": tuple(fewer)})
    return RejectionSampling(allotments=allotments, keep_per_problem=max(a.samples for a in allotments))


def apportion(cells: Sequence[Standing], brief: PlanBrief) -> list[Portion]:
    """Rows and samples of each cell, at one sample a problem.

    A start from the base forgets what earlier rows taught, so these are then rehearsed whole.
    """
    discarded = [past for past in brief.history if past.status == "discarded"]
    unlearned = takewhile(lambda past: past.status != "kept", reversed(brief.history))
    aim = min(BOLDEST, ROWS * BOLDER ** len(discarded))
    found = _portions(cells, brief, aim)
    rows, anchor = sum(portion.rows for portion in found), sum(cell.cell.demonstrations for cell in cells)
    if rows < anchor:  # a round that trains on all demonstrations should bring as many rows as these
        found = _portions(cells, brief, min(BOLDEST, aim * anchor / max(1.0, rows)))
    most = min(1.0, brief.samples_per_round / max(1.0, sum(portion.samples for portion in found)))
    old, new = sum(p.share * p.of.stock for p in found), most * sum(p.rows for p in found)
    new += sum(past.examples_kept for past in unlearned)
    part = 1.0 if brief.start == "base" else min(1.0, REHEARSED * max(new, uniform_problems(brief)) / max(1.0, old))
    return [Portion(p.of, p.rows * most, p.samples * most, p.share * part) for p in found]


def _portions(cells: Sequence[Standing], brief: PlanBrief, aim: float) -> list[Portion]:
    """The baseline's rows, weighted; learning cells get `aim` of them."""
    each = uniform_problems(brief)
    below = _below(cells)
    tilts = _tilts(cells, below, brief.diagnosis)
    unlike = {(m.skill, m.level) for m in _modes(brief.diagnosis) if m.kind in ("wrong format", "no answer")}
    learned = rate_of((sum(c.learning * c.stock for c in cells), sum(c.learning for c in cells)), 0)
    found = []
    for cell, tilt in zip(cells, tilts, strict=True):
        weight = SCOUT + (1 - SCOUT) * cell.alive
        if cell.key in below:
            weight = max(weight, FRONTIER * below[cell.key].mean)
        weight *= 1 - (1 - SOLVED_FRESH) * cell.solved
        weight *= 1 + (aim * tilt - 1) * cell.learning
        sampled = max(cell.sampled, 0.01)
        rows = weight * each * one_of(sampled, SAMPLES_EACH)
        wanted = (1 - (1 - SOLVED_MIX) * cell.solved) * max(learned, each)
        needed = brief.start == "base" or cell.key in unlike or not cell.solved
        share = 1.0 if needed else min(1.0, wanted / max(1.0, cell.stock))
        found.append(Portion(of=cell, rows=rows, samples=rows / sampled, share=share))
    return found


def _below(cells: Sequence[Standing]) -> dict[Key, Standing]:
    """The next easier level of the same skill: by number, or as the brief lists levels that are words."""
    found = {}
    for skill in dict.fromkeys(cell.cell.skill for cell in cells):
        levels = [cell for cell in cells if cell.cell.skill == skill]
        levels.sort(key=lambda cell: cell.cell.level if isinstance(cell.cell.level, int) else 0)
        found.update({upper.key: lower for lower, upper in pairwise(levels)})
    return found


def _tilts(cells: Sequence[Standing], below: dict[Key, Standing], diagnosis: Diagnosis | None) -> list[float]:
    """Mild preferences between learning cells, around 1 and within `TILT`.

    Fourth roots, so that none decides: of the advantage p (1 - p) (SEC, arXiv 2505.14970) and of the gain per
    token; the share in the dev exam counts by half; what the diagnosis names counts by its share of attempts.
    """
    named: dict[Key, float] = {}
    for mode in _modes(diagnosis):
        key = (mode.skill, mode.level)
        key = below[key].key if mode.kind == "cut off" and key in below else key
        named[key] = named.get(key, 0.0) + 0.2 * mode.share
    usual = sum(cell.cell.share for cell in cells) / max(1, len(cells)) or 1.0
    worth = [
        (cell.mean * (1 - cell.mean) * cell.gain) ** 0.25
        * (0.5 + 0.5 * max(0.0, cell.cell.share) / usual)
        * (1 + named.get(cell.key, 0.0))
        for cell in cells
    ]
    weights = [cell.learning for cell in cells]
    mean = rate_of((sum(map(float.__mul__, weights, worth)), sum(weights)), 1.0)
    return [min(1 + TILT, max(1 - TILT, value / mean)) for value in worth]


def affordable(portions: Sequence[Portion], brief: PlanBrief) -> float:
    """How much of the plan the budget allows, 0 to 1; half as much after each round that failed in a row."""
    scale = 1.0
    for past in reversed(brief.history):
        if past.status != "failed":
            break
        scale /= 2
    if brief.budget.tokens is not None:
        cost = max(1.0, sum(cost_of(portions, brief)))
        scale = min(scale, LAST_TOKENS * max(0, brief.budget.tokens) / cost)
    if brief.budget.seconds is not None:
        usual = max((past.seconds for past in brief.history if past.plan), default=0.0) or LAST_SECONDS
        scale = min(scale, max(0.0, brief.budget.seconds) / usual)
    return max(scale, 0.01)


def cost_of(portions: Sequence[Portion], brief: PlanBrief) -> tuple[float, float]:
    """Tokens that the portions will cost: sampled, trained."""
    drawn = sum(portion.samples * portion.of.tokens for portion in portions)
    older, new = sum(portion.older for portion in portions), sum(portion.rows for portion in portions)
    copies = max(1, math.ceil(new / older)) if older else 1  # until the new rows are no more than half of the mix
    mix = sum((copies * portion.older + portion.rows) * portion.of.tokens for portion in portions)
    return drawn, mix * _epochs(portions, brief, 1.0)


def _epochs(portions: Sequence[Portion], brief: PlanBrief, scale: float) -> float:
    """Passes over the mix: the objective's, fewer as more rows are new, but not less than one for that."""
    anchor = sum(portion.of.cell.demonstrations for portion in portions)
    rows = sum(portion.share * portion.of.stock + portion.rows for portion in portions)
    fewer = brief.epochs * rate_of((anchor + rows / FEWER, anchor + rows), 1.0)
    return min(100.0, max(0.01, max(fewer, min(1.0, brief.epochs)) * scale))


def allot(portion: Portion, samples: int, brief: PlanBrief) -> Allotment | None:
    """One sample of each fresh problem; where they run out, fewer problems, up to four samples each.

    A finite pool is to last the rounds left, but no round need take less of it than the baseline does.
    """
    cell = portion.of.cell
    each, rounds = uniform_problems(brief), max(1, brief.budget.rounds or ROUNDS_AHEAD)
    pace = samples if cell.left is None else max(math.ceil(cell.left / rounds), math.ceil(each))
    problems = within(cell, min(samples, pace))
    if problems < 1:
        return None
    most = min(SAMPLES_EACH, samples // problems, max(1, round(SAMPLES_EACH * each / problems)))
    rows = portion.rows * samples / max(1.0, portion.samples)
    tries = next((n for n in range(1, most) if problems * one_of(portion.of.sampled, n) >= rows), most)
    tries = 1 if problems == samples else tries
    return Allotment(skill=cell.skill, level=cell.level, problems=problems, samples=tries)


def _least(portions: Sequence[Portion]) -> tuple[Allotment, ...]:
    """One problem where most was wanted, so that a round does something; none where every pool is empty."""
    open_ones = [portion.of for portion in portions if within(portion.of.cell, 1)]
    wanted = {portion.of.key: portion.samples for portion in portions}
    for standing in sorted(open_ones, key=lambda standing: -wanted[standing.key])[:1]:
        return (Allotment(skill=standing.cell.skill, level=standing.cell.level, problems=1),)
    return ()


def _answers(
    portions: Sequence[Portion], allotments: Sequence[Allotment], diagnosis: Diagnosis | None
) -> tuple[str, ...]:
    """The failure modes whose cells are practised this round, and not only watched."""
    drawn = {(allotment.skill, allotment.level) for allotment in allotments}
    practised = {p.of.key for p in portions if p.of.key in drawn and p.of.learning >= 0.5}
    return tuple(mode.name for mode in _modes(diagnosis) if (mode.skill, mode.level) in practised)


def hypothesis(portions: Sequence[Portion], allotments: Sequence[Allotment], brief: PlanBrief) -> str:
    """The plan in words: which cells, why, what is expected of it and what it costs."""
    if not allotments:
        return "Nothing can be sampled: no cell has a practice problem left. Train on what there is, or stop."
    solved = [p.of for p in portions if p.of.solved >= 0.5]
    barren = [p.of for p in portions if p.of.solved < 0.5 and p.of.alive < 0.5]
    learning = [p.of for p in portions if p.of.solved < 0.5 and p.of.alive >= 0.5]
    wanted = {(allotment.skill, allotment.level): allotment for allotment in allotments}
    drawn = [(p.of, wanted[p.of.key]) for p in portions if p.of.key in wanted]
    rows = sum(allotment.problems * one_of(of.sampled, allotment.samples) for of, allotment in drawn)
    cost = sum(allotment.problems * allotment.samples * of.tokens for of, allotment in drawn)
    trained = cost_of(portions, brief)[1] * affordable(portions, brief)
    rise = sum(of.cell.share * (1 - of.mean) * of.learning for of, _ in drawn) * HEADROOM
    dev = f"dev up by about {rise:.3f}" if any(of.cell.share for of, _ in drawn) else "dev has none of these cells"
    parts = [
        f"To practise nearly evenly, since these fail and give rows: {_named(learning)}." if learning else "",
        f"To rehearse only, since these pass nearly always: {_named(solved)}." if solved else "",
        f"To scout only, since these give too few rows: {_named(barren)}." if barren else "",
        f"Expected of {sum(a.problems * a.samples for _, a in drawn)} samples: {rows:.0f} or more new rows; {dev};",
        f"cost about {cost:.0f} tokens sampled and {trained:.0f} trained.",
    ]
    return " ".join(filter(None, parts))[:4000]


def _named(cells: Sequence[Standing]) -> str:
    """The first cells by name, with their pass rates."""
    names = [f"{name_of(cell.key)} ({cell.mean:.2f})" for cell in cells[:8]]
    return ", ".join(names) + (f" and {len(cells) - 8} more" if len(cells) > 8 else "")


def _modes(diagnosis: Diagnosis | None) -> Sequence[FailureMode]:
    return diagnosis.modes if diagnosis else ()
