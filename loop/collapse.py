"""Collapse: signs that a loop feeds on its own errors, found in the history of its rounds; each is a reason to stop.

A round is compared with every earlier one. A reason needs a fall that is large enough to matter and that chance does
not explain: the one-sided exact test of two shares (Fisher). A run makes many such comparisons, and any of them ends
it: so the m-th comparable round may use 1 / (m (m + 1)) of the level, which adds up to 1 however many rounds there
are, an equal part for each earlier round (Bonferroni). Chance then stops up to 4 of 100 runs of thirty healthy
rounds; with the whole level in every round it stopped one in two.
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
    """What is measured of a round, each on a set that is alike in both rounds compared; None where there is none."""

    round: int
    labels: Share | None = None
    """Labels that the loop itself would give to gold items, those that are right among all."""
    diversity: Share | None = None
    """Problems with several right solutions: of each the chance that two of them differ, summed. Distinct solutions
    among the right ones would fall by themselves as more are right."""
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
    """The chance that a rule stops a run in which nothing falls, however long it is."""


RULES = StopRules()


def reasons_to_stop(pairs: Sequence[tuple[Vitals, Vitals]], rules: StopRules = RULES) -> list[str]:
    """Why the loop should stop after its last round, in words: the first fall and what fell with it; [] to go on.

    Args: pairs: each earlier round that can be compared with the last one, and the last one, as far as both were
    measured on what is alike.
    """
    level = rules.level / (len(pairs) ** 2 * (len(pairs) + 1)) if pairs else 0.0
    found = (_falls_between(then, now, rules, level) for then, now in pairs)
    return next(filter(None, found), [])


def _falls_between(then: Vitals, now: Vitals, rules: StopRules, level: float) -> list[str]:
    def fell(what: str, before: Share | None, share: Share | None, least: float) -> str:
        if before is None or share is None or not _has_fallen(share, before, least, level):
            return ""
        return f"{what} fell from {before.value:.0%} in round {then.round} to {share.value:.0%} in round {now.round}"

    labels = fell("label accuracy on gold items", then.labels, now.labels, rules.labels_fall)
    diversity = fell("diversity of the right solutions", then.diversity, now.diversity, rules.diversity_falls)
    sharpened = ""
    if then.pass_1 and now.pass_1 and then.k == now.k and then.pass_1.value < now.pass_1.value:
        sharpened = fell(f"pass@{now.k}", then.pass_k, now.pass_k, rules.pass_k_falls)
        rise = f"while pass@1 rises from {then.pass_1.value:.0%} to {now.pass_1.value:.0%}"
        sharpened = f"{sharpened}, {rise}" if sharpened else ""
    return [reason for reason in (labels, diversity, sharpened) if reason]


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
