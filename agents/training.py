"""Training: the ways to train the student that a plan may choose among, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer

from agents.strategies import Reply

DIVERGED = "training diverged"
"""How the reason begins of a round that failed by its training."""


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

    @model_serializer(mode="wrap")
    def _as_chosen(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what was left open: a plan of before a setting came reads and is written alike."""
        return {name: value for name, value in plain(self).items() if value is not None}


class SFT(Training):
    """Supervised fine-tuning on the mix. What is None is as the student's preset has it."""

    told: ClassVar[str] = (
        "the next-token loss on the responses of the mix: demonstrations, earlier rows and new ones. Where rows are "
        "few, more epochs with strong regularisation, all of it off unless written: weight_decay (0 to 2; 0.1 is "
        "usual, 1.3 strong), dropout (0 to 0.5; 0.1 is usual), hold_out (0.02 to 0.3: that share of the prompts is "
        "not trained on in this round but looked at after each epoch; training stops after two looks without a lower "
        "loss, and the weights of the best look stay; takes 2 epochs or more). packing (true or false): rows share "
        "sequences without seeing each other; saves padding where their lengths differ much, costs time where all "
        "are short"
    )
    method: Literal["sft"] = "sft"
    packing: bool | None = None
    weight_decay: Annotated[float, Field(ge=0, le=2)] | None = None
    """Slowrun: 1.3 to 1.6, some 16 times the usual, is what lets many epochs on few rows pay (mechanisms.md §5)."""
    dropout: Annotated[float, Field(ge=0, le=0.5)] | None = None
    hold_out: Annotated[float, Field(ge=0.02, le=0.3)] | None = None


def _method(value: Any) -> Any:
    """A choice that names no method is supervised."""
    return value.get("method", "sft") if isinstance(value, dict) else getattr(value, "method", None)


TrainingChoice = Annotated[Annotated[SFT, Tag("sft")], Discriminator(_method)]
"""How the student is trained this round, inside what the objective allows."""

METHODS: dict[str, type[SFT]] = {"sft": SFT}
"""The settings of each method, by its name; the usual one first."""
