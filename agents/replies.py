"""Replies: what an agent says. Validated here, and only choices that the loop offers can be said at all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from agents.strategies import Allotment, Arbitration, ComputeMatched, Level, Practice, RejectionSampling, Reply
from agents.writers.settings import AgenticSelfInstruct, AnyWriting


def _kind(value: Any) -> Any:
    """A strategy that names no kind is the plain one; all that write are told apart further on."""
    kind = value.get("kind", "rejection_sampling") if isinstance(value, dict) else getattr(value, "kind", None)
    alone = ("rejection_sampling", "compute_matched", "arbitration", "agentic_self_instruct")
    return kind if kind in alone else "writing"


Strategy = Annotated[
    Annotated[RejectionSampling, Tag("rejection_sampling")]
    | Annotated[ComputeMatched, Tag("compute_matched")]
    | Annotated[Arbitration, Tag("arbitration")]
    | Annotated[AgenticSelfInstruct, Tag("agentic_self_instruct")]
    | Annotated[AnyWriting, Tag("writing")],
    Discriminator(_kind),
]
"""How training rows come about: by samples for the objective's problems, or by what a model writes."""


class CellShare(Reply):
    """How much of a cell's earlier rows the training mix takes: 1 all of them, 0 none."""

    skill: str
    level: Level = None
    share: Annotated[float, Field(ge=0, le=1)]


class Mixture(Reply):
    """The training mix. Demonstrations are always in it, whatever a plan says."""

    newest: Annotated[float, Field(gt=0, le=0.5)] = 0.5
    """Largest share of the mix that rows of this round may have."""
    anchor: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Least share of the mix that the demonstrations have: they are repeated until they do."""
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
    strategies: tuple[Strategy, ...]
    mixture: Mixture = Mixture()
    training: TrainingChoice = TrainingChoice()

    @property
    def allotments(self) -> tuple[Allotment, ...]:
        """What the cells get from all strategies together; a cell may stand there several times."""
        return tuple(a for strategy in self.strategies if isinstance(strategy, Practice) for a in strategy.allotments)


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
