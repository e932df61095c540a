"""Rows of the history: every round of every source, the refused ones too, and what is accepted of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents.selfinstruct.bands import Heading
from agents.strategies import Reply
from agents.verdicts import Criterion, Rubric


class Row(BaseModel):
    """Base of the rows: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Row):
    """A text that questions are made from."""

    id: str
    """A digest of its content: every key and seed depends on it."""
    text: str


class Challenge(Reply):
    """What the challenger writes: a question that can be answered without the source."""

    context: Annotated[str, Field(max_length=12_000)]
    """What must be known to answer; "" where the question says it all."""
    question: Annotated[str, Field(min_length=1, max_length=6_000, pattern=r"\S")]
    reference: Annotated[str, Field(min_length=1, max_length=12_000, pattern=r"\S")]
    criteria: Annotated[tuple[Criterion, ...], Field(max_length=30)] = ()
    """Of the rubric; none for a question whose answer a program checks."""


class Tried(Row):
    """One attempt of a solver, judged."""

    text: str
    finish: Literal["stop", "length", "error"]
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None
    """None is an error: empty, cut off, or the judge said nothing usable. It is never a low score."""
    detail: str = ""


class Calls(Row):
    """Questions put to each role in a round, those asked again included; of the solvers, attempts asked for."""

    challenger: int = 0
    verifier: int = 0
    weak: int = 0
    strong: int = 0
    judge: int = 0


class Prompts(Row):
    """Digests of the templates that asked; "" where nobody was asked."""

    challenger: str = ""
    verifier: str = ""
    weak: str = ""
    strong: str = ""
    judge: str = ""


class Round(Row):
    """One question: what became of it and why. `id` is the digest of seed, source and number."""

    id: str
    source: str
    number: Annotated[int, Field(ge=1)]
    challenge: Challenge | None
    """None where the challenger wrote none that could be used."""
    heading: Heading | None
    """What it was refused for; None is accepted."""
    reason: str = ""
    feedback: str = ""
    """What the challenger is told of it."""
    prompt: str = ""
    """What the weak solver was told, whole; "" where it was not asked."""
    passage: str = ""
    """What the strong solver was told after these same bytes: "" but where it may see the source."""
    weak_bytes: str = ""
    strong_bytes: str = ""
    """Digests of what each solver was told; "" where it was not asked."""
    weak: tuple[Tried, ...] = ()
    strong: tuple[Tried, ...] = ()
    calls: Calls = Calls()
    prompts: Prompts = Prompts()

    @model_validator(mode="after")
    def _is_fair(self) -> Round:
        if self.weak_bytes and self.strong_bytes and not self.passage and self.weak_bytes != self.strong_bytes:
            raise ValueError(f"round {self.id}: weak and strong solver were told different things")
        return self

    @property
    def accepted(self) -> bool:
        """Whether it is in the bands."""
        return self.heading is None


class Accepted(Row):
    """A question in the bands, ready to be trained on. `id` is that of its round."""

    id: str
    source: str
    prompt: str
    """What the weak solver was told, whole."""
    context: str
    question: str
    reference: str
    rubric: Rubric | None
    """None where a program checks the answer."""
    weak_mean: float
    strong_mean: float | None
    """None where the bands ask nothing of the strong solver."""
    bands: str
    """Name of the rule that accepted it."""
    models: dict[str, str]
    """Who played which role."""
    prompts: Prompts
    lineage: tuple[str, ...]
    """Ids of all rounds of the source up to this one, in their order: what was refused before it."""


def scores_of(tried: Sequence[Tried]) -> tuple[float, ...]:
    """Of the attempts that have one."""
    return tuple(attempt.score for attempt in tried if attempt.score is not None)


def accepted_of(rounds: Sequence[Round], bands: str, models: dict[str, str]) -> Accepted | None:
    """What a source's rounds have come to; None where none is accepted."""
    last = rounds[-1] if rounds else None
    if last is None or not last.accepted or last.challenge is None:
        return None
    criteria = last.challenge.criteria
    return Accepted(
        id=last.id,
        source=last.source,
        prompt=last.prompt,
        context=last.challenge.context,
        question=last.challenge.question,
        reference=last.challenge.reference,
        rubric=Rubric(criteria=criteria) if criteria else None,
        weak_mean=fmean(scores_of(last.weak)),
        strong_mean=fmean(scores_of(last.strong)) if last.strong else None,
        bands=bands,
        models=models,
        prompts=last.prompts,
        lineage=tuple(done.id for done in rounds),
    )


def key_of(*parts: object) -> str:
    """The first 16 hex digits of the SHA-256 over the parts' JSON: every key and seed of a round comes of one."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, default=str).encode()).hexdigest()[:16]
