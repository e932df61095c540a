"""Looking: the read-only questions that an orchestrator may put to the run, and how what it sees is quoted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, Field

from agents.briefs import Brief, Tally
from agents.strategies import Level, Reply
from agents.talk import quoted

MOST_SHOWN = 3000
"""Characters of one result."""
QUOTED = (700, 60)
"""Characters of one text in it: the first with which a row has room; escaped, a character may take six."""
MOST_ROWS = 20

Name = Annotated[str, Field(max_length=200)]
RoundNumber = Annotated[int, Field(ge=0, le=10_000)]
Count = Annotated[int, Field(ge=1, le=MOST_ROWS)]


class Failures(Reply):
    """Wrong attempts of the last probe that are of one failure mode or cluster."""

    action: Literal["look"]
    tool: Literal["failures"]
    mode: Name
    count: Count = 5


class Samples(Reply):
    """Samples that a round drew in one cell."""

    action: Literal["look"]
    tool: Literal["samples"]
    round: RoundNumber
    skill: Name
    level: Level = None
    passed: bool | None = None
    """Only those that passed, or failed, their critique; None shows both."""
    strategy: Name = ""
    """Only those of this strategy; "" is all."""
    count: Count = 5


class Scores(Reply):
    """A round's scores by cell: dev, probe and samples."""

    action: Literal["look"]
    tool: Literal["scores"]
    round: RoundNumber
    at: Literal["dev", "probe", "samples"] | None = None
    """Only these; None shows all three."""
    skill: Name = ""
    """Only cells of this skill; "" is all."""


class Demonstrations(Reply):
    """Demonstrations of one cell; of all where no skill is named."""

    action: Literal["look"]
    tool: Literal["demonstrations"]
    skill: Name = ""
    level: Level = None
    start: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How many of them are passed over."""
    count: Count = 5


class Costs(Reply):
    """What each strategy of a round cost and gained."""

    action: Literal["look"]
    tool: Literal["costs"]
    round: RoundNumber


Look = Annotated[Failures | Samples | Scores | Demonstrations | Costs, Field(discriminator="tool")]


class FailureRow(Brief):
    """One wrong attempt at a practice problem."""

    problem: str
    response: str
    right: str
    """The answer it should have come to."""
    first_wrong: str = ""


class SampleRow(Brief):
    """One sample of a practice problem, and what became of it."""

    problem: str
    response: str
    passed: bool
    reason: str
    """Why it did not pass, or passed and was not admitted; "" for one that was."""
    strategy: str
    sampler: str


class ScoreRow(Tally):
    """Attempts in one cell at one occasion."""

    at: Literal["dev", "probe", "samples"]


class DemonstrationRow(Brief):
    """One demonstration."""

    problem: str
    response: str


class CostRow(Brief):
    """What one strategy of a round cost and gave, and what the round as a whole came to."""

    strategy: str
    sampler: str
    samples: int
    passed: int
    admitted: int
    tokens: int
    round_status: str
    round_dev: float | None
    best_dev_before: float | None
    p: float | None
    """Of the paired test on dev: small means that the round is better than the best before it."""
    round_tokens_sampled: int
    round_tokens_trained: int
    round_usd: float


class Library(Protocol):
    """What may be looked at: practice problems, demonstrations and counts. Nothing of it can be changed.

    No row holds a problem of dev or test, nor a score of the test. What there is not gives no rows.
    """

    def failures(self, look: Failures) -> Sequence[FailureRow]:
        """Of the last finished probe."""
        ...

    def samples(self, look: Samples) -> Sequence[SampleRow]:
        """Of a closed round."""
        ...

    def scores(self, look: Scores) -> Sequence[ScoreRow]:
        """Of a closed round."""
        ...

    def demonstrations(self, look: Demonstrations) -> Sequence[DemonstrationRow]:
        """Of those that are trained on."""
        ...

    def costs(self, look: Costs) -> Sequence[CostRow]:
        """Of a closed round."""
        ...


class Seen(NamedTuple):
    """What a look showed: a JSON object a row, and how many rows there was no room for."""

    rows: tuple[str, ...]
    left_out: int


def look_up(look: Look, library: Library) -> Seen:
    """Look, and quote what is seen within `MOST_SHOWN` characters."""
    rows: Sequence[Brief]
    match look:
        case Failures():
            rows = library.failures(look)
        case Samples():
            rows = library.samples(look)
        case Scores():
            rows = library.scores(look)
        case Demonstrations():
            rows = library.demonstrations(look)
        case Costs():
            rows = library.costs(look)
    shown: list[str] = []
    left = MOST_SHOWN
    for row in rows:
        text = next((text for most in QUOTED if len(text := quotation(row, most)) < left), None)
        if text is None:
            break
        shown.append(text)
        left -= len(text) + 1
    return Seen(tuple(shown), len(rows) - len(shown))


def quotation(value: Any, most: int = QUOTED[0]) -> str:
    """A record or JSON value as one line of JSON whose texts are quoted and cut; what is not printable is escaped."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in quoted(value, most))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quotation(str(k))}: {quotation(v, most)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(quotation(one, most) for one in value) + "]"
    return json.dumps(value)
