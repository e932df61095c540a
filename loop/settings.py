"""The settings of OBJECTIVE.md, a frozen model each: tasks and exams, budget, training, critic, strategies."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from agents.catalogue import CATALOGUE
from loop.cast import check_model
from loop.sources import File, Names, Settings, Size, Source, Text, as_tuple, closest, mistake

THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise mistake("is not between 0 and 1; write a fraction such as 0.85")
    return value


def _tokens(value: object) -> object:
    """Read 300k, 20M and 1.5B as whole numbers."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kmb]?)", value.strip().lower())
    number = Decimal(match[1]) * THOUSANDS[match[2]] if match else Decimal("0.5")
    if number % 1:
        raise mistake("is not a number of tokens; write one such as 300k, 20M or 1.5B")
    return int(number)


Fraction = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_fraction)]
Amount = Annotated[float, Field(gt=0, le=10**9)]


class ExamSource(Source):
    """A source that an exam is taken from. Of a file it takes `size` rows, by default all; a generator has no
    end, so there `size` is required.
    """

    size: Size | None = None
    weight: Annotated[float, Field(gt=0, le=10**6)] | None = None  # type: ignore[assignment]  # 1 would hide it
    """Of its score in the exam's; None where it is not stated."""

    @model_validator(mode="after")
    def _ends(self) -> "ExamSource":
        if not self.is_file and self.size is None:
            raise mistake("is missing, and a generator has no end; write a number such as 300", "size")
        return self


class Exam(Settings):
    """{from: practice, size}, or a list of sources, alone or as {sources}: then `size` is None."""

    from_: Literal["practice"] | None = Field(default=None, alias="from")
    size: Size | None = None
    sources: Annotated[tuple[ExamSource, ...], Field(strict=False)] = ()
    samples: Annotated[int, Field(ge=2, le=1000)] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Answers to every problem that are sampled beside the greedy one; they decide nothing."""

    @property
    def from_practice(self) -> bool:
        """Whether the problems are drawn from the sources of practice."""
        return not self.sources

    @model_validator(mode="before")
    @classmethod
    def _one_of_two_forms(cls, value: object) -> object:
        if isinstance(value, list | tuple) and value:
            return {"sources": tuple(value)}
        if not isinstance(value, dict):
            raise mistake("is no exam; write {from: practice, size: 300} or a list of sources")
        if "sources" in value and not value["sources"]:
            raise mistake("is empty; write at least one", "sources")
        for key in ("from", "size"):
            if "sources" in value and key in value:
                raise mistake("stands beside sources; take one out, each source has a size of its own", key)
        return value

    @model_validator(mode="after")
    def _complete(self) -> "Exam":
        if self.from_practice and self.from_ is None:
            raise mistake("is missing; write from: practice", "from")
        if self.from_practice and self.size is None:
            raise mistake("is missing; write how many problems, such as 300", "size")
        return self


class Tasks(Settings):
    """What is practised, and the two exams."""

    practice: Annotated[tuple[Source, ...], Field(strict=False, min_length=1)]
    dev: Exam
    test: Exam


class Budget(Settings):
    """What may be spent, whichever ends first; None is no limit."""

    rounds: Annotated[int, Field(gt=0, le=999)] | None = None
    minutes: Amount | None = None
    tokens: Annotated[int, BeforeValidator(_tokens), Field(gt=0, le=10**18)] | None = None
    usd: Annotated[float, Field(ge=0, le=10**9)] | None = None
    """Dollars; 0 forbids models with a price."""
    collapse: Literal["stop", "warn"] = "stop"
    """Whether signs of collapse (see loop/collapse.py) end the run, or are only told."""

    @model_validator(mode="after")
    def _ends(self) -> "Budget":
        if self.rounds is None and self.minutes is None:
            raise mistake("has neither rounds nor minutes; write one, such as {rounds: 6}")
        return self


class Training(Settings):
    """What the plan may choose from; `Objective.weights` says what `weights` comes to."""

    method: Literal["auto", "sft", "dpo", "grpo", "distill"] = "auto"
    weights: Literal["full", "lora"] | None = None
    start: Literal["base", "best"] = "best"


class Critic(Settings):
    """How a critic that is a model is told to judge, and when it is believed."""

    rubric: File | None = None
    bar: Fraction = 0.8
    """Agreement with gold below which it isn't believed."""
    embeddings: Text | None = None
    """A sentence-transformers model, by id or folder, for the quality of documents; None takes the student's own
    hidden states."""

    @field_validator("embeddings")
    @classmethod
    def _can_embed(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None:
            check_model(name, info.context["folder"] if info.context else None)
        return name


class Strategies(Settings):
    """Which strategies a plan may use; `allow` None is all of them."""

    allow: Names | None = None
    deny: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ()
    harness: File | None = None
    """As `loop evolve` wrote it: what agentic self-instruct tells the challenger (loop/guidance.py)."""

    @model_validator(mode="after")
    def _leave_one(self) -> "Strategies":
        for key in ("allow", "deny"):
            for name in getattr(self, key) or ():
                if name not in CATALOGUE:
                    raise mistake(f"is no strategy; {closest(name, tuple(CATALOGUE))}", key)
        if not set(self.allow or CATALOGUE) - set(self.deny):
            raise mistake("leaves no strategy to plan with; allow one")
        return self
