"""Training: the ways to train the student that a plan may choose among, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

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


class SFT(Training):
    """Supervised fine-tuning on the mix."""

    told: ClassVar[str] = "the next-token loss on the responses of the mix: demonstrations, earlier rows and new ones"
    method: Literal["sft"] = "sft"


def _method(value: Any) -> Any:
    """A choice that names no method is supervised."""
    return value.get("method", "sft") if isinstance(value, dict) else getattr(value, "method", None)


TrainingChoice = Annotated[Annotated[SFT, Tag("sft")], Discriminator(_method)]
"""How the student is trained this round, inside what the objective allows."""

METHODS: dict[str, type[SFT]] = {"sft": SFT}
"""The settings of each method, by its name; the usual one first."""
