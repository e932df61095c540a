"""Strategies that practise: how samples are drawn for the objective's own problems. A plan chooses among them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Level = int | str | None
Name = Annotated[str, Field(max_length=200)]
TEMPERATURE = 0.8
"""Of who writes rows, where a plan says no other."""


class Reply(BaseModel):
    """Base of all replies: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Allotment(Reply):
    """What one skill × level cell gets from a strategy: fresh problems, and samples of each."""

    skill: str
    level: Level = None
    problems: Annotated[int, Field(ge=0, le=1_000_000)]
    samples: Annotated[int, Field(ge=1, le=64)] = 1


class Kept(Reply):
    """What all strategies say of the rows that they keep."""

    temperature: Annotated[float, Field(ge=0, le=2)] = TEMPERATURE
    """Of who writes the rows."""
    keep_per_problem: Annotated[int, Field(ge=1, le=64)] = 1
    """Rows of one problem that become examples, each of another path of solution (RFT, arXiv 2308.01825)."""
    most_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000_000
    """Rows of the whole strategy that become examples."""
    skip_solved: bool = False
    """Whether a problem that all its samples solve gives no row: only where attempts differ is there something to
    learn. Of no use with one sample a problem."""


class Practice(Kept):
    """What all strategies say that draw samples for practice problems."""

    named_in: ClassVar[str] = "sampler"
    allotments: tuple[Allotment, ...]
    instructions: Annotated[str, Field(max_length=2000)] = ""
    """What stands before each problem, for samplers that are chat models; "" adds nothing."""

    @property
    def weight(self) -> int:
        """What a sample costs, in samples of the dearest player: how many players answer each problem."""
        return 1

    @property
    def players(self) -> tuple[str, ...]:
        """Who draws, by name; their names stand in the field `named_in`."""
        return ()


class RejectionSampling(Practice):
    """Draw samples from the sampler and keep what every verifier passes (STaR, RFT, ReST-EM)."""

    kind: Literal["rejection_sampling"] = "rejection_sampling"
    sampler: Name = ""
    """Who draws: one of the brief's samplers; "" is the first of them."""
    rationalise: bool = False
    """Whether a problem that no sample solved is tried once more with its answer as a hint, which is not kept (STaR,
    arXiv 2203.14465)."""

    @property
    def weight(self) -> int:
        """See Practice: where nothing was solved, everything is drawn twice."""
        return 1 + self.rationalise

    @property
    def players(self) -> tuple[str, ...]:
        """See Practice."""
        return (self.sampler,) if self.sampler else ()


class ComputeMatched(Practice):
    """Several samplers at equal cost a problem: the cheaper one draws more (arXiv 2408.16737).

    An allotment's `samples` is what the dearest of them draws of each problem.
    """

    named_in: ClassVar[str] = "samplers"
    kind: Literal["compute_matched"] = "compute_matched"
    samplers: Annotated[tuple[Name, ...], Field(min_length=2, max_length=8)]

    @property
    def weight(self) -> int:
        """See Practice: all cost the same."""
        return len(self.samplers)

    @property
    def players(self) -> tuple[str, ...]:
        """See Practice."""
        return self.samplers


class Arbitration(Practice):
    """Several teachers, of whom each problem is answered by the one that suits it (arXiv 2408.14960)."""

    named_in: ClassVar[str] = "teachers"
    kind: Literal["arbitration"] = "arbitration"
    teachers: Annotated[tuple[Name, ...], Field(min_length=2, max_length=16)]
    routing: Literal["fixed", "reward", "learned"] = "reward"
    """fixed: by cell, the teacher who passed most there so far. reward: all answer, the best is kept. learned: who
    will do best is told from the problem, so that only one answers."""

    @property
    def weight(self) -> int:
        """See Practice."""
        return len(self.teachers) if self.routing == "reward" else 1

    @property
    def players(self) -> tuple[str, ...]:
        """See Practice."""
        return self.teachers


Practising = RejectionSampling | ComputeMatched | Arbitration
"""All strategies that practise."""
