"""Collapse: signs that a loop feeds on its own errors, found in the history of its rounds; each is a reason to stop.

A round is compared with the best earlier one. A reason needs a fall that is large enough to matter and that chance
does not explain: the one-sided exact test of two shares (Fisher), its level divided by the number of earlier rounds,
since the best of several looks better than it is (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma

from loop.records import Record


class Share(Record):
    """A share of n independent things. `count` may be a sum of n values in 0..1, such as pass@k of n problems: it
    varies no more than a count does, so the test stays on the safe side.
    """

    count: float
    n: int

    @property
    def value(self) -> float:
        """The share; 0 of 0 is 0."""
        return self.count / self.n if self.n else 0.0


class Vitals(Record):
    """What is measured of a round, each on a set that stays the same over the rounds; None where it was not."""

    round: int
    labels: Share | None = None
    """Labels that the loop itself would give to gold items, those that are right among all."""
    diversity: Share | None = None
    """Distinct solutions among the right ones, of the same number of samples a problem in every round."""
    pass_1: Share | None = None
    """Problems solved with one sample: of each its share of right samples, summed."""
    pass_k: Share | None = None
    """The same problems solved with `k` samples (see `coverage_at`)."""
    k: int = 0


class StopRules(Record):
    """From what fall on a round is a reason to stop. Thresholds are the house's own, not a paper's."""

    labels_fall: float = 0.05
    """R-Zero's label accuracy fell 79 → 69 → 63 % while its loop still ran (arXiv 2508.05004)."""
    diversity_falls: float = 0.1
    pass_k_falls: float = 0.03
    """With pass@1 risen at the same time: the student sharpens what it could do and loses the rest."""
    level: float = 0.05
    """Of each test, before it is divided by the number of earlier rounds."""


RULES = StopRules()


def reasons_to_stop(history: Sequence[Vitals], rules: StopRules = RULES) -> list[str]:
    """Why the loop should stop after the last round of the history, in words; [] to go on. Looks at nothing else."""
    if len(history) < 2:
        return []
    *earlier, last = history
    found: list[str] = []
    for name, words, least in (
        ("labels", "label accuracy on gold items", rules.labels_fall),
        ("diversity", "diversity of the right solutions", rules.diversity_falls),
    ):
        now: Share | None = getattr(last, name)
        measured = [(vitals.round, getattr(vitals, name)) for vitals in earlier if getattr(vitals, name) is not None]
        if now is not None and measured:
            best_round, best = max(measured, key=lambda pair: pair[1].value)
            if _has_fallen(now, best, least, rules.level / len(measured)):
                found.append(_in_words(words, best, best_round, now, last.round))
    return [*found, *_sharpened(earlier, last, rules)]


def falls(now: Share, before: Share) -> float:
    """P(a share as low as `now` or lower) if both are draws of one share: the exact one-sided test (Fisher 1935).

    Sums of values are rounded, `now` up and `before` down, so that a fall is never made larger than it is.
    """
    a, b = min(now.n, -int(-now.count // 1)), int(before.count)
    marked = a + b
    whole = _log_comb(now.n + before.n, marked)
    lowest = max(0, marked - before.n)
    return sum(exp(_log_comb(now.n, x) + _log_comb(before.n, marked - x) - whole) for x in range(lowest, a + 1))


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _has_fallen(now: Share, before: Share, least: float, level: float) -> bool:
    return before.value - now.value >= least and falls(now, before) < level


def _sharpened(earlier: Sequence[Vitals], last: Vitals, rules: StopRules) -> list[str]:
    """pass@k has fallen below its best earlier round while pass@1 has risen above it."""
    measured = [v for v in earlier if v.pass_1 and v.pass_k and v.k == last.k]
    if not (measured and last.pass_1 and last.pass_k):
        return []
    best = max(measured, key=lambda v: v.pass_k.value if v.pass_k else 0.0)
    assert best.pass_1 and best.pass_k, "only what was measured is compared"
    if last.pass_1.value <= best.pass_1.value:
        return []
    if not _has_fallen(last.pass_k, best.pass_k, rules.pass_k_falls, rules.level / len(measured)):
        return []
    rise = f"while pass@1 rises from {best.pass_1.value:.0%} to {last.pass_1.value:.0%}"
    return [f"{_in_words(f'pass@{last.k}', best.pass_k, best.round, last.pass_k, last.round)}, {rise}"]


def _in_words(what: str, before: Share, then: int, now: Share, round_number: int) -> str:
    return f"{what} fell from {before.value:.0%} in round {then} to {now.value:.0%} in round {round_number}"
