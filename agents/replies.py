"""Replies: what an agent says. Validated here, and only choices that the loop offers can be said at all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Level = int | str | None


class Reply(BaseModel):
    """Base of all replies: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Allotment(Reply):
    """What one skill × level cell gets from a strategy: fresh problems, and samples of each."""

    skill: str
    level: Level = None
    problems: Annotated[int, Field(ge=0, le=1_000_000)]
    samples: Annotated[int, Field(ge=1, le=64)] = 1


class RejectionSampling(Reply):
    """Draw samples from the sampler and keep what every verifier passes (STaR, RFT, ReST-EM)."""

    kind: Literal["rejection_sampling"] = "rejection_sampling"
    allotments: tuple[Allotment, ...]
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    keep_per_problem: Annotated[int, Field(ge=1, le=64)] = 1
    instructions: Annotated[str, Field(max_length=2000)] = ""
    """What stands before each problem, for samplers that are chat models; "" adds nothing."""
    sampler: Annotated[str, Field(max_length=200)] = ""
    """Who draws: one of the brief's samplers; "" is the first of them."""


class CellShare(Reply):
    """How much of a cell's earlier rows the training mix takes: 1 all of them, 0 none."""

    skill: str
    level: Level = None
    share: Annotated[float, Field(ge=0, le=1)]


class Mixture(Reply):
    """The training mix. Demonstrations are always in it, whatever a plan says."""

    newest: Annotated[float, Field(gt=0, le=0.5)] = 0.5
    """Largest share of the mix that rows of this round may have."""
    rehearse: tuple[CellShare, ...] = ()
    """Cells whose earlier rows are only partly rehearsed; a cell not named is taken whole."""


class TrainingChoice(Reply):
    """How the student is trained this round, inside what the objective allows."""

    method: Literal["sft"] = "sft"
    start: Literal["base", "best"] = "best"
    epochs: Annotated[float, Field(gt=0, le=100)] = 1.0
    learning_rate_scale: Annotated[float, Field(gt=0, le=10)] = 1.0


class Proposal(Reply):
    """A round's hypothesis and what to do about it: all of a plan that an orchestrator can say."""

    hypothesis: Annotated[str, Field(min_length=1, max_length=4000)]
    answers: tuple[str, ...] = ()
    """Names of the failure modes of the last diagnosis that this plan acts on."""
    strategies: tuple[RejectionSampling, ...]
    mixture: Mixture = Mixture()
    training: TrainingChoice = TrainingChoice()


class Plan(Proposal):
    """A proposal with where it came from, which is set by us and never by a model."""

    author: str = ""
    """The model that made it, or "rules" where they stood in for one; "" for an orchestrator that is no model."""
    handover: str = ""
    """Why the rules planned in the model's place; "" where they did not."""
    prompt: str = ""
    """Digest of the templates that the model was asked with."""


class FailureMode(Reply):
    """A named pattern of wrong attempts."""

    name: str
    kind: Literal["no answer", "cut off", "wrong step", "wrong answer", "wrong format"]
    skill: str
    level: Level = None
    count: int
    share: Annotated[float, Field(ge=0, le=1)]
    """Share of the probe's attempts in this cell that failed this way."""
    examples: tuple[str, ...] = ()
    advice: str


class Diagnosis(Reply):
    """The failure modes of one probe, largest first."""

    attempts: int
    wrong: int
    modes: tuple[FailureMode, ...] = ()
