"""Bands: between which scores of the weak and the strong solver a question is accepted, and what refuses it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from statistics import fmean, pstdev
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

SLACK = 1e-9
"""Means that differ by less are the same: 0.65 - 0.45 is no less than 0.2."""
PASSED_WEAK = 0.32
"""Share of the published questions that are hard enough for the weak solver: a CS question took 6.59 rounds, so
5.59 of 6.59 failed, and 80 % of the failed ones were too easy: 1 - 0.80 * 5.59 / 6.59 (arXiv 2606.25996)."""
LOWEST_BAR, HIGHEST_BAR = 0.2, 0.8
"""Between these a bar for the weak mean may be moved: below, scores are mostly zeros; above, nothing is hard."""
LEAST_PILOT = 10
"""Questions without which a pilot says too little: of ten, three are below the bar."""

Share = Annotated[float, Field(ge=0, le=1)]


class Heading(StrEnum):
    """What a refused question is filed under: what the challenger is told goes by it.

    The first three are the source's. A gap that is too small stands under FAILED_ON_STRONG: the weak solver has done
    its part by then, and the strong one was not better enough. A strong mean that is too high stands under TOO_EASY:
    what would mend it is a harder question. The others are ours: what has none of these mends.
    """

    TOO_EASY = "too easy"
    FAILED_ON_STRONG = "failed on strong"
    FAILED_VERIFIER = "failed verifier"
    NO_GRADIENT = "no gradient"
    """The weak attempts are zeros, or all alike: nothing is to be learnt from their differences."""
    REPEATED = "repeated"
    """An earlier question of the same source, or an edit of it."""
    ERROR = "error"
    """Nobody can tell: replies or attempts that could not be used."""


class Refusal(NamedTuple):
    """Why a question is not accepted."""

    heading: Heading
    reason: str
    """One line."""


class Bands(BaseModel):
    """The rule of acceptance; a setting that is None asks for nothing. Scores are 0 to 1, 1 is right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weak_samples: Annotated[int, Field(ge=1, le=64)] = 3
    strong_samples: Annotated[int, Field(ge=1, le=64)] = 3
    most_errors: Annotated[int, Field(ge=0)] = 1
    """Attempts of a solver that may be left without a score (empty, cut off, not judged)."""
    weak_mean_below: Share | None = None
    weak_mean_most: Share | None = None
    """The same, and the bar itself is still hard enough."""
    weak_best_most: Share | None = None
    zeros: Literal["allowed", "none", "not all"] = "allowed"
    """Weak scores of 0, the two readings of the published "zeros guarded": none of them, or not all of them."""
    strong_mean_least: Share | None = None
    strong_mean_below: Share | None = None
    gap_least: Share | None = None
    """Strong mean less weak mean."""
    majority: bool = False
    """More than half of the weak attempts wrong, more than half of the strong ones right. A tie is neither."""
    weak_right_most: Annotated[int, Field(ge=0)] | None = None
    strong_right_least: Annotated[int, Field(ge=1)] | None = None
    spread_least: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """Standard deviation (of the population) of the weak scores: the learnability of a rubric-scored question."""

    @model_validator(mode="after")
    def _can_be_met(self) -> Bands:
        weak = (
            self.weak_mean_below,
            self.weak_mean_most,
            self.weak_best_most,
            self.weak_right_most,
            self.spread_least,
        )
        if not self.majority and all(bar is None for bar in weak):
            raise ValueError("asks nothing of the weak solver; set a bar for it, majority or spread_least")
        if 2 * self.most_errors >= min(self.weak_samples, self.strong_samples):
            raise ValueError(f"most_errors: {self.most_errors} leave no majority of the attempts; write fewer")
        if self.spread_least is not None and self.weak_samples < 2:
            raise ValueError("weak_samples: the spread of one attempt is 0; write 2 or more")
        if self.strong_right_least is not None and self.strong_right_least > self.strong_samples:
            raise ValueError(f"strong_right_least: of {self.strong_samples} strong_samples; write no more than these")
        return self

    @property
    def asks_strong(self) -> bool:
        """Whether anything is asked of the strong solver."""
        bars = (self.strong_mean_least, self.strong_mean_below, self.gap_least, self.strong_right_least)
        return self.majority or any(bar is not None for bar in bars)

    def refuse_weak(self, weak: Sequence[float]) -> Refusal | None:
        """Why the weak scores alone refuse the question: then the strong solver is not asked. None where they do not.

        Raises: ValueError for no score, or one that is none (NaN, below 0, above 1).
        """
        return next(self._weak_faults(_sound(weak)), None)

    def refuse(self, weak: Sequence[float], strong: Sequence[float]) -> Refusal | None:
        """Why the question is not accepted; None where it is. Raises as `refuse_weak` does."""
        return self.refuse_weak(weak) or next(self._strong_faults(weak, _sound(strong)), None)

    def _weak_faults(self, weak: Sequence[float]) -> Iterator[Refusal]:
        mean, right = fmean(weak), count_right(weak)
        if self.weak_mean_below is not None and mean >= self.weak_mean_below - SLACK:
            yield Refusal(Heading.TOO_EASY, f"weak mean {mean:.2f}, not below {self.weak_mean_below:.2f}")
        if self.weak_mean_most is not None and mean > self.weak_mean_most + SLACK:
            yield Refusal(Heading.TOO_EASY, f"weak mean {mean:.2f}, above {self.weak_mean_most:.2f}")
        if self.weak_best_most is not None and max(weak) > self.weak_best_most + SLACK:
            yield Refusal(Heading.TOO_EASY, f"best weak score {max(weak):.2f}, above {self.weak_best_most:.2f}")
        if self.majority and 2 * right >= len(weak):
            yield Refusal(Heading.TOO_EASY, f"{right} of {len(weak)} weak attempts right: no majority is wrong")
        if self.weak_right_most is not None and right > self.weak_right_most:
            yield Refusal(Heading.TOO_EASY, f"{right} weak attempts right, more than {self.weak_right_most}")
        zeros = sum(score <= SLACK for score in weak)
        if (self.zeros == "none" and zeros) or (self.zeros == "not all" and zeros == len(weak)):
            yield Refusal(Heading.NO_GRADIENT, f"{zeros} of {len(weak)} weak scores are 0")
        if self.spread_least is not None and pstdev(weak) < max(self.spread_least - SLACK, SLACK):
            alike = f"weak scores spread by {pstdev(weak):.3f}, less than {self.spread_least:.3f}"
            yield Refusal(Heading.TOO_EASY if right == len(weak) else Heading.NO_GRADIENT, alike)

    def _strong_faults(self, weak: Sequence[float], strong: Sequence[float]) -> Iterator[Refusal]:
        mean, right = fmean(strong), count_right(strong)
        if self.strong_mean_least is not None and mean < self.strong_mean_least - SLACK:
            yield Refusal(Heading.FAILED_ON_STRONG, f"strong mean {mean:.2f}, below {self.strong_mean_least:.2f}")
        if self.majority and 2 * right <= len(strong):
            yield Refusal(Heading.FAILED_ON_STRONG, f"{right} of {len(strong)} strong attempts right: no majority")
        if self.strong_right_least is not None and right < self.strong_right_least:
            yield Refusal(
                Heading.FAILED_ON_STRONG, f"{right} strong attempts right, fewer than {self.strong_right_least}"
            )
        if self.strong_mean_below is not None and mean >= self.strong_mean_below - SLACK:
            yield Refusal(Heading.TOO_EASY, f"strong mean {mean:.2f}, not below {self.strong_mean_below:.2f}")
        gap = mean - fmean(weak)
        if self.gap_least is not None and gap < self.gap_least - SLACK:
            yield Refusal(Heading.FAILED_ON_STRONG, f"gap {gap:.2f}, below {self.gap_least:.2f}")


PRESETS = {
    bands.name: bands
    for bands in (
        # The early blog, CS papers: facebookresearch/RAM, projects/autodata.
        Bands(name="blog_early_cs", weak_mean_below=0.50, strong_mean_least=0.65, gap_least=0.15),
        # The early blog, while the harness was optimised: the same page.
        Bands(name="blog_early_meta", weak_mean_most=0.50, strong_mean_least=0.60, gap_least=0.25),
        # The later blog, and arXiv 2606.25996, section 4 and appendix C.1. Its "zeros guarded" is read as no zero;
        # the other reading is bands.model_copy(update={"zeros": "not all"}).
        Bands(
            name="blog_later", weak_mean_most=0.65, weak_best_most=0.75, zeros="none",
            strong_mean_least=0.60, strong_mean_below=0.95, gap_least=0.20,
        ),
        # arXiv 2606.25996, section 3.1: CS papers.
        Bands(name="paper_cs", weak_mean_below=0.50, strong_mean_least=0.65, gap_least=0.20),
        # The blog, verifiable tasks in general: majority vote wrong, majority vote right.
        Bands(name="verifiable", majority=True, most_errors=0),
        # arXiv 2606.25996, section 3.3: science; at most 1 of 4, at least 3 of 4.
        Bands(
            name="paper_science", weak_samples=4, strong_samples=4, most_errors=0,
            weak_right_most=1, strong_right_least=3,
        ),
        # arXiv 2606.25996, section 3.2: law; five weak attempts, three strong ones. The paper has no numbers, its
        # judge looks for spread among the weak attempts. Ours stands between the spreads that it reports before
        # (0.079) and after (0.126); and a strong solver below the weak one speaks against the rubric.
        Bands(name="paper_legal", weak_samples=5, strong_samples=3, spread_least=0.10, gap_least=0.0),
    )
}  # fmt: skip
"""The published versions by name. They moved between versions: none of them is the right one everywhere."""


def calibrate(bands: Bands, pilot: Sequence[Sequence[float]]) -> Bands:
    """The bands with their bars for the weak solver moved to the one at hand.

    The rule: a pilot of questions, answered by that solver, is put in the order of its mean scores, and the bar for
    the weak mean goes half-way between the questions of which `PASSED_WEAK` (0.32, the share in the paper) are
    below. It stays within `LOWEST_BAR` and `HIGHEST_BAR`, and so low that a strong mean can still be the gap above
    it. The bar for the best weak score moves by as much. All else stays: what is asked of the strong solver is a
    matter of the question's worth, and counts, votes and spreads are no matter of scale.

    Args: pilot: for every question, the scores of the weak attempts at it. The same pilot gives the same bands.

    Raises: ValueError for fewer than `LEAST_PILOT` questions, or scores that are none.
    """
    if len(pilot) < LEAST_PILOT:
        raise ValueError(f"a pilot of {len(pilot)} questions says too little; ask at least {LEAST_PILOT}")
    means = sorted(fmean(_sound(scores)) for scores in pilot)
    bar = bands.weak_mean_below if bands.weak_mean_below is not None else bands.weak_mean_most
    if bar is None:
        return bands
    below = max(1, int(PASSED_WEAK * len(means)))
    ceiling = 1.0 if bands.strong_mean_below is None else bands.strong_mean_below
    most = min(HIGHEST_BAR, ceiling - (bands.gap_least or 0.0))
    moved = round(max(LOWEST_BAR, min(most, (means[below - 1] + means[below]) / 2)), 4)
    update: dict[str, float | str] = {"name": f"{bands.name}, calibrated"}
    update["weak_mean_most" if bands.weak_mean_below is None else "weak_mean_below"] = moved
    if bands.weak_best_most is not None:
        update["weak_best_most"] = round(min(1.0, max(moved, bands.weak_best_most + moved - bar)), 4)
    return bands.model_validate(bands.model_dump() | update)


def count_right(scores: Sequence[float]) -> int:
    """Attempts with full marks: what votes and counts go by."""
    return sum(score >= 1 - SLACK for score in scores)


def _sound(scores: Sequence[float]) -> Sequence[float]:
    if not scores:
        raise ValueError("no attempt has a score")
    if odd := [score for score in scores if not (math.isfinite(score) and 0 <= score <= 1)]:
        raise ValueError(f"{odd[0]} is no score; it must be 0 to 1")
    return scores
