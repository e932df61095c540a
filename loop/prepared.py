"""Prepared: what was made of the extracts of documents before anything was written from them, and by whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from agents.briefs import PreparedBrief, ScorerBrief
from agents.critics.annotator import Annotation
from loop.records import Record

LEAST_SKILL = 0.1
"""Of the variance of scores that a scorer has not learnt from, the share that it must explain to be believed: what is
fitted to noise comes to a hair's breadth on either side of 0."""


class Annotated(Record):
    """What the annotator says of one extract."""

    id: str
    """The extract's."""
    annotation: Annotation


class Scorer(Record):
    """A scorer of this round's extracts, how far it can be trusted, and what it gave."""

    name: Literal["annotator", "linear"]
    """annotator: the head that learnt from its annotations; linear: words and pairs of words."""
    folder: str = ""
    """Relative to the run; "" where none was made."""
    manifest: str = ""
    """Digest of the folder's manifest."""
    made_from: str = ""
    """Digest of what it learnt from."""
    encoder: str = ""
    """What its features are of: a checkpoint of the student, or a model by name; "" for words."""
    learnt_from: int
    """Texts."""
    error: float | None = None
    """Root mean square error on texts that it has not learnt from: of points, or of 1 for a positive and 0."""
    baseline: float | None = None
    """The error of giving each the mean of the others."""
    f1: float | None = None
    """On such texts, of "the rounded score reaches 3", or of "0.5 or more"."""
    reason: str = ""
    """Why it is not believed; "" where it is."""
    scores: dict[str, float] = Field(default_factory=dict)
    """By extract."""

    @property
    def believed(self) -> bool:
        """Whether its scores count."""
        return not self.reason

    def judged(self) -> Scorer:
        """The same, not believed where it does no better than the mean, or tells no extracts apart."""
        assert self.error is not None and self.baseline is not None
        skill = 1 - (self.error / self.baseline) ** 2 if self.baseline else 0.0
        reason = ""
        if len({*self.scores.values()}) < 2:
            reason = "it scores all extracts alike"
        elif skill < LEAST_SKILL:
            reason = (
                f"on texts that it had not seen it errs by {self.error:.3g}, where giving all the mean errs by"
                f" {self.baseline:.3g}"
            )
        return self.model_copy(update={"reason": reason})


class Prepared(Record):
    """One extract, as it may be written from, or left out."""

    id: str
    """The extract's: digest of its text as it stood in the document."""
    document: str
    kept: bool
    reason: str = ""
    """Why not: low quality, the refiner drops it, nothing of it is left, stands in an exam; else ""."""
    detail: str = ""
    """The refiner's own words: data for people."""
    text: str = ""
    """What is left after refining, where that has changed it."""
    refined: str = ""
    """Digest of that text."""
    annotation: int | None = None
    """The annotator's points; None where it was not asked, or said nothing usable."""
    scores: dict[str, float] = Field(default_factory=dict)
    """By scorer, of those that are not believed too."""
    bucket: int | None = None
    """Its place among all extracts, 0 to 19, by what is believed: the best that any scorer has for it."""
    executed: int = 0
    """The refiner's calls that were carried out, skipped, malformed, and chunks for which it said none."""
    skipped: int = 0
    malformed: int = 0
    unusable: int = 0
    prompts: tuple[str, ...] = ()
    """Digests of the templates that asked about it."""


LOW = "low quality"
"""The one reason for which an extract can still be rewritten."""


def tally_prepared(rows: Sequence[Prepared], scorers: Sequence[Scorer]) -> PreparedBrief:
    """What preparing came to, as an orchestrator may see it."""
    return PreparedBrief(
        extracts=len(rows),
        kept=sum(row.kept for row in rows),
        left_out=dict(sorted(Counter(row.reason for row in rows if not row.kept).items())),
        executed=sum(row.executed for row in rows),
        skipped=sum(row.skipped for row in rows),
        malformed=sum(row.malformed for row in rows),
        scorers=tuple(
            ScorerBrief(name=s.name, error=s.error, baseline=s.baseline, f1=s.f1, believed=s.believed)
            for s in scorers
        ),
    )
