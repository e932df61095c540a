"""Rounds: the ledger's line, one for each pass of the line."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agents.briefs import Tally
from loop.records import CellScore, Checkpoint, Record, Score, Verdict


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
    dropped: dict[str, int] = Field(default_factory=dict)
    """Samples that did not become examples, by reason."""
    questions: dict[str, int] = Field(default_factory=dict)
    """Of agentic self-instruct, questions by what became of them: accepted, or the heading of their refusal."""
    dev_cells: tuple[CellScore, ...] = ()
    samples: tuple[Tally, ...] = ()
    probe: tuple[Tally, ...] = ()
    verdict: Verdict | None = None
    false_positive_rate: float | None = None
    """Of the admitted samples, the share whose working an independent check finds unsound."""
    answer_false_positive_rate: float | None = None
    """Of the samples with a right answer, the share with wrong or missing working: what an answer check lets in."""
