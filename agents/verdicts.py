"""Verdicts: what a critic is told, what it may say, and what is made of it. No sum is left to a model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from agents.briefs import Brief
from agents.strategies import Reply

Said = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
"""A reason: never empty."""

MOST_DETAIL = 200
"""Characters of a verdict's detail, which stands in rows and reports."""


class Criterion(Reply):
    """One statement about a response that is either true or not."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    text: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]
    weight: Annotated[int, Field(ge=-10, le=10)]
    """1 to 10 for what is wanted, -10 to -1 for a fault."""

    @field_validator("weight")
    @classmethod
    def _weighs(cls, weight: int) -> int:
        if weight == 0:
            raise ValueError("0 weighs nothing; write 1 to 10, or -10 to -1 for a fault")
        return weight


class Rubric(Reply):
    """Weighted criteria, and the score from which a response passes."""

    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=30)]
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.7

    @model_validator(mode="after")
    def _can_be_met(self) -> Rubric:
        names = [criterion.name for criterion in self.criteria]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is the name of two criteria; rename one")
        if all(criterion.weight < 0 for criterion in self.criteria):
            raise ValueError("has faults alone; write at least one criterion of positive weight")
        return self

    def score(self, met: Collection[str]) -> float:
        """0 to 1: (weights of met wanted criteria - weights of met faults) / weights of all wanted, clamped.

        Autodata's rubric (arXiv 2606.25996) as re-implemented; see mechanisms.md, section 1.
        """
        gained = sum(criterion.weight for criterion in self.criteria if criterion.name in met)
        return min(1.0, max(0.0, gained / sum(c.weight for c in self.criteria if c.weight > 0)))


class Finding(Brief):
    """What a program found out about a response: a verifier's check, as the loop made it."""

    name: str
    verdict: Literal["passed", "failed", "absent"]
    detail: str = ""


class CriticBrief(Brief):
    """One response to be judged."""

    key: str = ""
    """Of the sample: the seeds of a vote depend on it."""
    problem: str
    response: str
    findings: tuple[Finding, ...] = ()
    """The verifiers' checks; one that failed decides."""
    reference: str | None = None
    """The known answer: shown to a critic that is told to look at it, to no other."""
    typical: int = 0
    """Characters of an ordinary right response, such as the median demonstration; 0 where it is not known."""


class PairBrief(Brief):
    """Two responses to one problem."""

    key: str = ""
    problem: str
    first: str
    second: str
    typical: int = 0


class Mark(Reply):
    """What the critic says about one criterion. The reason comes first: what is written after it can follow it."""

    criterion: str
    reason: Said
    met: bool


class Marks(Reply):
    """The reply of a rubric critic."""

    marks: tuple[Mark, ...]

    def check_against(self, rubric: Rubric) -> None:
        """Raise ValueError unless every criterion is marked exactly once, by its name."""
        said = [mark.criterion for mark in self.marks]
        names = [criterion.name for criterion in rubric.criteria]
        if sorted(said) != sorted(names):
            raise ValueError(f"marks: write each of these criteria exactly once: {', '.join(names)}")


class Preference(Reply):
    """The reply of a pairwise critic."""

    reason: Said
    better: Literal["first", "second", "tie"]


class Verdict(Reply):
    """What is made of a critic's marks, or of what was known before it was asked."""

    status: Literal["passed", "failed", "error"]
    """error: the critic said nothing usable. It is never believed, and never a low score."""
    by: Literal["verifier", "guard", "critic", "vote"]
    """Who decided."""
    detail: str
    """Why, in at most 200 characters of one line. A model's words: data for people, never for a prompt unquoted."""
    score: float | None = None
    """0 to 1 by the rubric (the mean of a vote's); None where no critic was asked or none was usable."""
    marks: tuple[Mark, ...] = ()
    votes: tuple[int, int, int] = (0, 0, 0)
    """Of a vote: passed, failed, unusable."""
    prompt: str = ""
    """Digest of the template that asked."""


class PairVerdict(Reply):
    """Which of two responses is better, both orders asked."""

    status: Literal["first", "second", "tie", "error"]
    by: Literal["guard", "critic"]
    detail: str
    named: tuple[Literal["first", "second", "tie"], ...] = ()
    """The place that was named when the pair stood in its order, and when it stood turned."""
    prompt: str = ""

    @property
    def turned(self) -> bool:
        """Whether the order changed what the critic says."""
        other = {"first": "second", "second": "first", "tie": "tie"}
        return len(self.named) == 2 and self.named[1] != other[self.named[0]]


def marks_schema(rubric: Rubric) -> dict[str, Any]:
    """JSON schema of `Marks` in which only the rubric's names can be said, and as many marks as it has."""
    schema = Marks.model_json_schema()
    schema["$defs"]["Mark"]["properties"]["criterion"]["enum"] = [criterion.name for criterion in rubric.criteria]
    schema["properties"]["marks"] |= {"minItems": len(rubric.criteria), "maxItems": len(rubric.criteria)}
    return schema


def one_line(text: str, most: int = MOST_DETAIL) -> str:
    """The text as one line of printable characters, cut at its end."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
