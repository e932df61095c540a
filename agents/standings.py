"""What the counts of a history say of each cell: how sure it is that it is solved, learning or barren."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from agents.briefs import CellBrief, PlanBrief, RoundBrief, Tally
from agents.uniform import Key

SURE = 1.28
"""Standard errors to the bounds that call a cell solved or barren: wrong at most one time in ten."""
PRUDENT = 0.67
"""The same for the pass rate that samples are reckoned with: a little-known cell is given more of them."""
CHANGED = 2.33
"""Standard errors beyond which older counts are dropped: the student has learned or forgotten since."""
SOLVED = (0.85, 0.94)
"""From the first to the second value of the lower bound, a cell goes from learning to solved."""
MUCH, EASE = 0.25, 0.4
"""Where no living cell fails more often than the first, the error rates of `SOLVED` shrink in proportion, but
by no more than the second as a factor: when all are nearly solved, the worst of them are practised on."""
BARREN = (0.05, 0.12)
"""From the second to the first value of the upper bound, a cell goes from learning to barren."""
CARRY = 60.0
"""Most attempts that all but the newest greedy ones count for."""
FADE = 0.5
"""Weight of counts for each student that has been kept since."""
GAP = 0.7
"""Log-odds by which greedy answers do better than samples, until history has shown it."""
STEADY = 100.0
"""Attempts at which a cell's measured gain counts as much as the mean of all: gains differ by 0.05, and the
variance of a rate is 0.25 / n."""
TOKENS = 100.0
"""Tokens of a sample, until one has been drawn."""

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the counts say of one cell, for the best student as it is now."""

    cell: CellBrief
    mean: float
    low: float
    high: float
    """Greedy pass rate, and the bounds on it; the upper one no less than what samples surely pass."""
    sampled: float
    """Pass rate of samples, prudently."""
    stock: float
    """Rows kept in earlier rounds, estimated."""
    tokens: float
    """Tokens of one sample."""
    gain: float
    """Rise of the pass rate per sampled token, against the mean of all cells; 1 where it is not known."""
    ease: float = 1.0
    """Factor of the error rates in `SOLVED`: lower where no cell has much to learn."""

    @property
    def key(self) -> Key:
        """Skill and level."""
        return self.cell.skill, self.cell.level

    @property
    def solved(self) -> float:
        """1 for a solved cell, 0 for one that is not, between them where it is in doubt."""
        return _ramp(self.low, *(1 - self.ease * (1 - bar) for bar in SOLVED))

    @property
    def alive(self) -> float:
        """0 for a barren cell, 1 for one that is not, between them where it is in doubt."""
        return _ramp(self.high, *BARREN)

    @property
    def learning(self) -> float:
        """How far it is neither solved nor barren."""
        return self.alive * (1 - self.solved)


def standings(brief: PlanBrief) -> list[Standing]:
    """What is believed of every cell; a cell that was never tried is believed to be learning."""
    gap = greedy_gap(brief.history)
    newest, others, drawn = _evidence(brief.history, gap)
    stock, gains = _rows_kept(brief.history), _gains(brief.history)
    costs = sum_by_cell(
        (key_of(t), t.tokens, t.tried) for past in brief.history for t in past.samples if t.tokens > 0
    )
    usual = rate_of((sum(c[0] for c in costs.values()), sum(c[1] for c in costs.values())), TOKENS)
    found = []
    for cell in brief.cells:
        key = (cell.skill, cell.level)
        passed, tried = _believed(newest.get(key, (0, 0)), others.get(key, (0, 0)))
        samples = drawn.get(key, (0, 0))
        found.append(
            Standing(
                cell=cell,
                mean=(passed + 0.5) / (tried + 1),
                low=bound(passed, tried, -SURE),
                high=max(bound(passed, tried, SURE), bound(*samples, -SURE)),
                sampled=max(_shifted(bound(passed, tried, -PRUDENT), -gap), bound(*samples, -PRUDENT)),
                stock=stock.get(key, 0.0),
                tokens=rate_of(costs.get(key, (0, 0)), usual),
                gain=gains.get(key, 1.0),
            )
        )
    most = max((1 - standing.mean for standing in found if standing.alive >= 0.5), default=1.0)
    return [replace(standing, ease=min(1.0, max(EASE, most / MUCH))) for standing in found]


def bound(passed: float, tried: float, errors: float) -> float:
    """Wilson's score bound (1927): `errors` standard errors above the rate, below it where negative.

    In closed form nearly the quantile of the Beta(passed + 1/2, failed + 1/2) posterior: within 0.02 of it at
    `SURE` from 30 attempts on, and wider by up to 0.05 at `CHANGED`; 0 or 1 with no attempt at all.
    """
    squared = errors * errors
    rate = rate_of((passed, tried), 0.5)
    error = errors * math.sqrt(tried * rate * (1 - rate) + squared / 4)
    return min(1.0, max(0.0, (passed + squared / 2 + error) / (tried + squared)))


def greedy_gap(history: Sequence[RoundBrief]) -> float:
    """Log-odds by which greedy answers pass more often than the same student's samples; `GAP` is one round.

    A round's samples come from the student that the greedy attempts of the round before describe.
    """
    gaps = [GAP]
    for before, past in pairwise(history):
        greedy = sum_by_cell((key_of(tally), tally.passed, tally.tried) for tally in _greedy(before))
        both = [tally for tally in past.samples if tally.tried > 0 and greedy.get(key_of(tally), (0, 0))[1]]
        if both:
            answered = sum(rate_of(greedy[key_of(tally)], 0) for tally in both) / len(both)
            drawn = sum(rate_of((tally.passed, tally.tried), 0) for tally in both) / len(both)
            gaps.append(_log_odds(answered) - _log_odds(drawn))
    return min(2.0, max(0.0, sum(gaps) / len(gaps)))


def _evidence(history: Sequence[RoundBrief], gap: float) -> tuple[dict[Key, Pair], ...]:
    """Passed and tried by cell: greedy, by the best student as it is now; all else as if it were; samples."""
    newest: list[tuple[Key, float, float]] = []
    others: list[tuple[Key, float, float]] = []
    drawn: list[tuple[Key, float, float]] = []
    kept_since = 0
    for past in reversed(history):
        weight = FADE**kept_since
        for tally in _greedy(past):
            row = (key_of(tally), weight * tally.passed, weight * tally.tried)
            (others if kept_since else newest).append(row)
        kept_since += past.status == "kept"
        for tally in past.samples:
            tried = FADE**kept_since * tally.tried
            rate = _shifted((tally.passed + 0.5) / (tally.tried + 1), gap)
            others.append((key_of(tally), tried * rate, tried))
            drawn.append((key_of(tally), FADE**kept_since * tally.passed, tried))
    return sum_by_cell(newest), sum_by_cell(others), sum_by_cell(drawn)


def _greedy(past: RoundBrief) -> list[Tally]:
    """Greedy attempts by the student that was best after the round; so no dev score of a discarded one."""
    trusted = past.dev_cells if past.status in ("start", "kept") else ()
    return [tally for tally in (*past.probe, *trusted) if tally.tried > 0]


def _believed(newest: Pair, others: Pair) -> Pair:
    """The newest counts and, unless these speak against it, all else, as `CARRY` attempts at most."""
    rate = rate_of(others, 0.5)
    if not bound(*newest, -CHANGED) <= rate <= bound(*newest, CHANGED):
        return newest
    carried = min(CARRY, others[1])
    return newest[0] + rate * carried, newest[1] + carried


def _rows_kept(history: Sequence[RoundBrief]) -> dict[Key, float]:
    """Rows of earlier rounds by cell: at most one a problem, scaled to what each round kept in all."""
    kept = []
    for past in history:
        allotments = past.plan.allotments if past.plan else ()
        each = {(a.skill, a.level): a.samples for a in allotments}
        rows = []
        for tally in past.samples:
            tries = each.get(key_of(tally), 1)
            passing = one_of(rate_of((tally.passed, tally.tried), 0), tries)
            rows.append((key_of(tally), tally.tried / tries * passing))
        total = sum(number for _, number in rows)
        scale = past.examples_kept / total if past.examples_kept and total else 1.0
        kept += [(key, number * scale, 1.0) for key, number in rows]
    return {key: pair[0] for key, pair in sum_by_cell(kept).items()}


def _gains(history: Sequence[RoundBrief]) -> dict[Key, float]:
    """Gain per sampled token by cell over the kept rounds, against the mean cell's (learning progress).

    A cell's rise is drawn to the mean rise as far as few attempts leave it in doubt (`STEADY`).
    """
    rises, tokens = [], []
    best: dict[Key, Pair] = {}
    for past in history:
        greedy = sum_by_cell((key_of(tally), tally.passed, tally.tried) for tally in _greedy(past))
        for key in [key for key in greedy if key in best and past.status == "kept"]:
            weight = 1 / (1 / greedy[key][1] + 1 / best[key][1])
            rises.append((key, weight * (rate_of(greedy[key], 0) - rate_of(best[key], 0)), weight))
        tokens += [(key_of(tally), float(tally.tokens), 1.0) for tally in past.samples]
        best = greedy or best
    by_cell, spent = sum_by_cell(rises), sum_by_cell(tokens)
    known = [key for key in by_cell if spent.get(key, (0, 0))[0] > 0]
    mean = rate_of((sum(by_cell[k][0] for k in known), sum(by_cell[k][1] for k in known)), 0)
    if mean <= 0:
        return {}
    usual = sum(spent[key][0] for key in known) / len(known)
    steady = {k: (by_cell[k][0] + STEADY * mean) / (by_cell[k][1] + STEADY) / mean for k in known}
    return {key: max(steady[key], 0.1) * usual / spent[key][0] for key in known}


def key_of(tally: Tally) -> Key:
    """A tally's cell."""
    return tally.skill, tally.level


def sum_by_cell(rows: Iterable[tuple[Key, float, float]]) -> dict[Key, Pair]:
    """Both numbers, added up by cell."""
    found: dict[Key, Pair] = {}
    for key, first, second in rows:
        before = found.get(key, (0.0, 0.0))
        found[key] = (before[0] + first, before[1] + second)
    return found


def rate_of(pair: Pair, otherwise: float) -> float:
    """The first number over the second; `otherwise` where there is none."""
    return pair[0] / pair[1] if pair[1] > 0 else otherwise


def one_of(rate: float, tries: int) -> float:
    """Probability that at least one of so many tries passes."""
    return 1.0 - (1.0 - rate) ** tries


def _log_odds(rate: float) -> float:
    held = min(0.999, max(0.001, rate))
    return math.log(held / (1 - held))


def _shifted(rate: float, by: float) -> float:
    """The rate, moved by so much in log-odds."""
    return 1 / (1 + math.exp(-(_log_odds(rate) + by)))


def _ramp(value: float, start: float, end: float) -> float:
    """0 up to `start`, 1 from `end` on, straight between them."""
    return min(1.0, max(0.0, (value - start) / (end - start)))
