"""Training: the ways to train the student that a plan may choose among, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from agents.strategies import Reply


class Training(Reply):
    """What all ways to train have."""

    told: ClassVar[str]
    """What it is and what it costs, for an orchestrator that is a model."""
    start: Literal["base", "best"] = "best"
    """base is the student of round 0."""
    epochs: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Passes over what is trained on: rows, pairs or problems."""
    learning_rate_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Times the rate that the method has for this student."""


class SFT(Training):
    """Supervised fine-tuning on the mix."""

    told: ClassVar[str] = "the next-token loss on the responses of the mix: demonstrations, earlier rows and new ones"
    method: Literal["sft"] = "sft"


class Distillation(Training):
    """Students in a row, each taught by the one before it alone (a chain); or the student taught by another model.

    Per batch, with α `alpha` and T `temperature`: (1 − α)·CE(student, y) + α·T²·KL(softmax(teacher/T) ‖
    softmax(student/T)), a mean per response token; the first of a chain learns by CE alone (Slowrun's chain
    distillation). Each link of a chain begins with fresh weights and a seed of its own; a pretrained student has no
    fresh ones, so its links begin from the base as it was before the loop, each with its own order of the rows. A
    chain thus holds nothing of earlier rounds but their rows, which stand in the mix: `start` is ignored.
    """

    told: ClassVar[str] = (
        "links students in a row, each from fresh weights on the whole mix for epochs passes and taught by the one "
        "before it; then one to serve, taught by the ensemble of them (serve: ensemble; last takes the last link as "
        "it is). Trains links + 1 times as many tokens a pass as sft, from nothing: for a mix that is small and "
        "learnt by heart. alpha 0 to 1 is the teacher's share of the loss, temperature 0.1 to 10, weight_decay and "
        "dropout are strong on purpose, start is ignored. teacher: a name of distil_from instead: the student itself "
        "is trained on from start, once, towards that model's distribution; on_policy (true: on responses that the "
        "student writes itself, by the reverse divergence; alpha then counts for nothing)"
    )
    method: Literal["distill"] = "distill"
    teacher: Annotated[str, Field(max_length=200)] = ""
    """A teacher of the cast that runs on this machine with the student's tokenizer; "" is the chain."""
    links: Annotated[int, Field(ge=2, le=20)] = 4
    """Gains level off after about four."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1.6
    """Of the links and the served student: 16 times the usual 0.1, as in Slowrun's records (1.3 to 1.6)."""
    dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Of what attention and feed-forward blocks of a link add."""
    serve: Literal["ensemble", "last"] = "ensemble"
    """What is served: one more student taught by the ensemble, or the last link. Of a student taught by the last
    link alone, that is a chain of one link more."""
    on_policy: bool = False
    """Only with a teacher."""

    @model_validator(mode="after")
    def _fits_together(self) -> Distillation:
        if self.on_policy and not self.teacher:
            raise ValueError("on_policy is for a teacher, and none is named; name one, or leave it out")
        return self


def _method(value: Any) -> Any:
    """A choice that names no method is supervised."""
    return value.get("method", "sft") if isinstance(value, dict) else getattr(value, "method", None)


TrainingChoice = Annotated[
    Annotated[SFT, Tag("sft")] | Annotated[Distillation, Tag("distill")], Discriminator(_method)
]
"""How the student is trained this round, inside what the objective allows."""

METHODS: dict[str, type[SFT | Distillation]] = {"sft": SFT, "distill": Distillation}
"""The settings of each method, by its name; the usual one first."""
