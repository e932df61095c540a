"""Briefs: what an agent is told. Nothing of the exams stands in one but dev's scores, losses and gains by cell."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from agents.replies import Diagnosis, Plan
from agents.strategies import Level


class Brief(BaseModel):
    """Base of all that is told to an agent: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tally(Brief):
    """Attempts in one skill × level cell."""

    skill: str
    level: Level = None
    tried: int
    passed: int
    tokens: int = 0
    """Tokens of prompts and completions that these attempts cost; 0 where it is not known."""


class CellBrief(Brief):
    """One skill × level cell of the practice problems."""

    skill: str
    level: Level = None
    share: float
    """Its share of the dev exam, 0 to 1."""
    left: int | None = None
    """Practice problems never sampled so far; None where they never run out."""
    demonstrations: int = 0
    """Demonstrations whose problem belongs to the cell, where that is known."""


class ScorerBrief(Brief):
    """How far a scorer of documents could be trusted, by texts that it had not learnt from."""

    name: str
    """annotator or linear."""
    error: float | None = None
    """Root mean square error: of the annotator's head in points, of linear in 0 to 1."""
    baseline: float | None = None
    """The error of giving every text the mean."""
    f1: float | None = None
    believed: bool
    """Where no scorer is, all extracts are kept."""


class PreparedBrief(Brief):
    """What preparing the documents of a round came to."""

    extracts: int
    kept: int
    left_out: dict[str, int]
    """By reason."""
    executed: int = 0
    """Calls of the refiner's programs that were carried out."""
    skipped: int = 0
    malformed: int = 0
    scorers: tuple[ScorerBrief, ...] = ()


class RoundBrief(Brief):
    """One round of the history, the discarded and failed ones included. Round 0 has no plan."""

    round: int
    status: str
    """start, kept, discarded or failed."""
    reason: str = ""
    plan: Plan | None = None
    dev: float | None = None
    dev_cells: tuple[Tally, ...] = ()
    samples: tuple[Tally, ...] = ()
    """What this round's sampler tried and what every verifier passed, before de-duplication."""
    probe: tuple[Tally, ...] = ()
    """Greedy attempts at fresh practice problems after the round's decision."""
    prepared: PreparedBrief | None = None
    """Where the plan had the documents prepared."""
    questions: dict[str, int] = Field(default_factory=dict)
    """Of agentic self-instruct, questions by what became of them: accepted, or the heading of their refusal."""
    reinforced: dict[str, int | float] = Field(default_factory=dict)
    """Of a training by reward: groups, those whose answers were all right or all wrong, the mean reward of the first
    and the last batch, the shares of answers cut off and of tokens clipped, and of answers that critics refused."""
    examples_kept: int = 0
    tokens_sampled: int = 0
    tokens_trained: int = 0
    seconds: float = 0.0
    usd: float = 0.0


class BudgetLeft(Brief):
    """What may still be spent; None where the objective sets no limit."""

    rounds: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    usd: float | None = None


class StrategyBrief(Brief):
    """One strategy of the catalogue: an orchestrator that is a model chooses among these."""

    name: str
    """The `kind` of its reply, such as rejection_sampling."""
    good_for: str
    costs: str
    settings: str = ""
    """What can be set, and within what bounds."""


class SolversBrief(Brief):
    """Who attempts and who marks the questions of agentic self-instruct."""

    weak: str
    strong: str
    judge: str
    """"program" where the cast's judge is the verifiers."""


REJECTION_SAMPLING = StrategyBrief(
    name="rejection_sampling",
    good_for="cells that pass sometimes: fresh problems give rows whose every check passed. A cell that never passes "
    "gives none, a cell that always passes teaches little",
    costs="problems x samples x the cell's tokens a sample, and the rows kept are trained on for every epoch",
    settings="allotments (cell, problems, samples a problem 1 to 64), temperature 0 to 2, keep_per_problem 1 to 64, "
    "most_rows, skip_solved (true: a problem that all its samples solve gives no row), "
    "sampler, rationalise (true: a problem that no sample solved is tried once more with its answer as a hint; for "
    "samplers that can take a hint), instructions (a text before each problem, for samplers that are chat models)",
)
"""The strategy that every objective has."""


class DocumentsBrief(Brief):
    """What a plan may have prepared."""

    extracts: int
    characters: int
    """Of all of them together."""
    embeddings: str
    """What the head reads: the student's own hidden states, or the name of a model."""
    demonstrations: int = 0
    """What linear compares with."""


class PlanBrief(Brief):
    """All that an orchestrator plans from."""

    objective: str
    cells: tuple[CellBrief, ...]
    history: tuple[RoundBrief, ...]
    diagnosis: Diagnosis | None = None
    budget: BudgetLeft = BudgetLeft()
    samples_per_round: int = 6000
    """Samples that a round of ordinary size draws; a plan may ask for less."""
    epochs: float = 1.0
    """Passes over the training mix that a round of ordinary size makes."""
    start: str = "best"
    """Where training starts from, when the objective fixes it: base or best; "any" leaves it to the plan."""
    catalogue: tuple[StrategyBrief, ...] = (REJECTION_SAMPLING,)
    """The strategies that the objective allows."""
    samplers: tuple[str, ...] = ()
    """Names of the models that may draw, the usual one first."""
    teachers: tuple[str, ...] = ()
    """Names of the models among which problems may be arbitrated."""
    writers: tuple[str, ...] = ()
    """Names of the models that may write new problems and texts, the usual one first."""
    documents: DocumentsBrief | None = None
    """What can be prepared before it is written from; None where there is nothing, or nobody who could."""
    solvers: SolversBrief | None = None
    """None where the cast cannot play agentic self-instruct."""
    methods: tuple[str, ...] = ("sft",)
    """Training methods that the objective allows."""
    distil_from: tuple[str, ...] = ()
    """Names of the teachers whose distribution can be learnt: they run here, with the student's tokenizer."""


class Evidence(Brief):
    """One attempt of the probe, as the diagnosis sees it: a practice problem, so it may be quoted."""

    id: str = ""
    """Of its row in the probe."""
    skill: str
    level: Level = None
    prompt: str
    answer: str
    response: str
    correct: bool
    finish: str
    kind: str = ""
    """For a wrong attempt: what a program could tell of it (see FailureMode.kind)."""
    detail: str = ""
    """The first wrong step, where the working can be checked: the first equation that does not hold, or else the
    first that is no part of this problem."""
