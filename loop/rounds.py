"""Rounds: the ledger's line, one for each pass of the line, and what it keeps of the samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field

from agents.briefs import Tally
from agents.strategies import Level
from loop.links import Distilled
from loop.records import CellScore, Checkpoint, Record, Score, Verdict
from loop.statistics import wilson

SetUp = Literal["distillation", "self-improvement", "weak-to-strong improvement", "mixed"]
"""See `loop.compute_match.set_up`."""


class AtK(Record):
    """Coverage and diversity among k samples a problem."""

    k: int
    problems: int
    """Problems with at least k samples: the mean is over them, the others are left out."""
    coverage: float
    """Share of the problems with a passed sample among k."""
    diversity: float
    """Mean number of distinct passed solutions a problem among k."""


class SamplingQuality(Record):
    """The samples of one sampler, after filtering (arXiv 2408.16737)."""

    sampler: str
    problems: int
    samples: int
    passed: int
    distinct: int
    """Distinct passed solutions, over all problems."""
    at: tuple[AtK, ...]
    """For k = 1, 2, 4 … up to the usual number of samples a problem, and for that number."""
    judged: int
    """Passed samples whose working was judged apart from the checks that decided."""
    false_positives: int
    """Of these, those whose working is unsound."""
    cut_off: int
    empty: int

    @property
    def false_positive_rate(self) -> Score:
        """False positives among the judged, with the 95 % Wilson interval."""
        return wilson(self.false_positives, self.judged)


class Stratum(Record):
    """Samples of fresh practice problems that are alike: what is measured of them can be compared between rounds."""

    skill: str
    level: Level = None
    sampler: str
    temperature: float
    k: int
    """Samples of each problem."""
    problems: int
    pass_1: float
    """Shares of right samples, summed over the problems."""
    pass_k: int
    """Problems with a right sample."""
    several: int
    """Problems with at least two right samples."""
    unlike: float
    """Of these, the chances that two of the right samples are different solutions, summed."""
    labelled: int = 0
    """Problems to which the votes that label written ones give an answer; 0 where none is labelled by vote."""
    rightly: float = 0.0
    """Of these, those whose answer is right."""


class Noise(Record):
    """The noise floor: how often outcomes change when one checkpoint sits the same problems a second time."""

    n: int
    """Problems sat twice, the second time with another seed and in another order."""
    rose: int
    """Wrong first, right again."""
    fell: int


class GoldShare(Record):
    """Of responses of known worth, the share that the verifier judges rightly."""

    what: str
    """In words, with what is right: "demonstrations accepted"."""
    share: Score


class VerifierGold(Record):
    """What the verifiers make of responses of known worth: see loop/verifier_gold.py."""

    shares: tuple[GoldShare, ...]
    refused: tuple[str, ...] = ()
    """Prompts of a few demonstrations that they refuse."""


class Round(Record):
    """One pass of the line, closed: a ledger line that stays, whatever came of it."""

    round: int
    status: Literal["start", "kept", "discarded", "failed"]
    reason: str = ""
    dev: Score | None = None
    checkpoint: Checkpoint | None = None
    strategies: tuple[str, ...] = ()
    sampled: int = 0
    passed: int = 0
    examples: int = 0
    pairs: int = 0
    """Of a right and a wrong attempt, where the student was trained on such."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Samples that did not become examples, by reason."""
    questions: dict[str, int] = Field(default_factory=dict)
    """Of agentic self-instruct, questions by what became of them: accepted, or the heading of their refusal."""
    dev_cells: tuple[CellScore, ...] = ()
    samples: tuple[Tally, ...] = ()
    probe: tuple[Tally, ...] = ()
    verdict: Verdict | None = None
    noise: Noise | None = None
    """Of round 0's checkpoint."""
    gold: VerifierGold | None = None
    """Of round 0, on all demonstrations."""
    false_positive_rate: float | None = None
    """Of the admitted samples, the share whose working an independent check finds unsound."""
    answer_false_positive_rate: float | None = None
    """Of the samples with a right answer, the share with wrong or missing working: what an answer check lets in."""
    set_up: SetUp | None = None
    """By who drew samples; None where nobody did."""
    quality: tuple[SamplingQuality, ...] = ()
    """Of the samples for practice problems, those drawn with a hint apart; by sampler."""
    strata: tuple[Stratum, ...] = ()
    distilled: Distilled | None = None
    """Of distillation: how those who taught and the served student do, and what they cost to serve."""


LOST = "lost"
"""The ledger's fact: rounds that were kept and whose checkpoint is damaged."""


def best_of(rounds: Sequence[Round], lost: Collection[int] = ()) -> Round | None:
    """The last round that was kept and is not lost, or round 0; None before that is closed."""
    kept = [r for r in rounds if r.status in ("kept", "start") and r.round not in lost]
    return kept[-1] if kept else None
