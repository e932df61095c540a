"""Replies: what an agent says. Validated here, and only choices that the loop offers can be said at all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from agents.strategies import (
    Allotment,
    Arbitration,
    ComputeMatched,
    Level,
    Name,
    Practice,
    RejectionSampling,
    Reply,
)
from agents.training import SFT, TrainingChoice
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


class DocumentsChoice(Reply):
    """What is done to the extracts of the documents before anything of the round is written from them, or grounded in
    them: the worst are left out, then those that stay are cleaned.
    """

    quality: Literal["none", "annotator", "linear", "ensemble"] = "none"
    """annotator: a model gives some of them 0 to 5 points, a head on embeddings learns it and scores all
    (FineWeb-Edu, arXiv 2406.17557). linear: how much like the demonstrations they read (DCLM, arXiv 2406.11794).
    ensemble: the better of both, by percentile (Nemotron-CC, arXiv 2412.02595)."""
    annotated: Annotated[int, Field(ge=10, le=5000)] = 300
    """Extracts that the annotator reads, at the most."""
    least: Annotated[int, Field(ge=0, le=5)] = 3
    """Of annotator: the least rounded score that is kept."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Of linear and ensemble: the share of the extracts that is kept."""
    refine: bool = False
    """Whether a model writes programs that clean what is kept, or drops it (ProX, arXiv 2409.17115)."""
    by: Name = ""
    """Who annotates and refines: one of the brief's writers; "" is the first of them."""

    @property
    def asks(self) -> bool:
        """Whether there is anything to do."""
        return self.refine or self.quality != "none"


class Proposal(Reply):
    """A round's hypothesis and what to do about it: all of a plan that an orchestrator can say."""

    hypothesis: Annotated[str, Field(min_length=1, max_length=4000)]
    answers: tuple[str, ...] = ()
    """Names of the failure modes or clusters of the last diagnosis that this plan acts on."""
    strategies: tuple[Strategy, ...]
    mixture: Mixture = Mixture()
    training: TrainingChoice = SFT()
    documents: DocumentsChoice = DocumentsChoice()

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


class CellCount(Reply):
    """So many wrong attempts in one cell."""

    skill: str
    level: Level = None
    count: int


class Cluster(Reply):
    """Wrong attempts that went wrong in one way, whatever the cell. Programs find them; a model may name them."""

    name: str
    named_by: str = ""
    """The model that named it; "" where its words do."""
    words: tuple[str, ...]
    """What tells it from the other wrong attempts, most telling first."""
    kind: str
    """That of most of its members (see FailureMode)."""
    count: int
    share: Annotated[float, Field(ge=0, le=1)]
    """Of the probe's wrong attempts."""
    cells: tuple[CellCount, ...]
    """Where its members are, most first."""
    first_wrong: str = ""
    """The first wrong step of its most typical member that has one."""
    examples: tuple[str, ...] = ()
    advice: str
    members: tuple[str, ...] = ()
    """Ids of their rows in the probe, the most typical first."""


class Regression(Reply):
    """Problems of one cell that were right before and are wrong now. Of dev it counts; only the probe is quoted."""

    exam: Literal["dev", "probe"]
    """dev: the round's student against the best so far. probe: the best, against the last probe with the problem."""
    skill: str
    level: Level = None
    count: int
    before: int
    """Problems asked both times that were right before."""
    gained: int
    """Those that were wrong before and are right now."""
    examples: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _quotes_no_exam(self) -> Regression:
        if self.exam == "dev" and self.examples:
            raise ValueError("a regression on dev is counted and never quoted")
        return self


class Diagnosis(Reply):
    """The failure modes of one probe, largest first; across cells, its clusters; and what was right before."""

    attempts: int
    wrong: int
    modes: tuple[FailureMode, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    """Largest first; none where few attempts are wrong, or where nothing binds them."""
    regressions: tuple[Regression, ...] = ()
    """Those on dev first, largest first."""

    @property
    def names(self) -> frozenset[str]:
        """What a plan may say that it answers: failure modes and clusters."""
        return frozenset([*(mode.name for mode in self.modes), *(cluster.name for cluster in self.clusters)])
