"""Roles: the challenger writes a question, the quality verifier looks for what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents.critics import seed_of
from agents.prompts import render
from agents.selfinstruct.rows import Challenge, Round, Source
from agents.strategies import Reply
from agents.talk import Message, Question, Talker, ask_for
from agents.verdicts import Rubric, Said, one_line

LONG_ENOUGH = 24
"""Characters from which a reference answer that stands in its question gives it away; a shorter one, such as a
number, may stand in both by chance, and is left to the model."""


class RubricShape(BaseModel):
    """How many criteria of what weight a challenger writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wanted: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=30)]] = (7, 10)
    """Fewest and most criteria of positive weight."""
    faults: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(le=30)]] = (0, 0)
    """Fewest and most criteria of negative weight."""
    heaviest: Annotated[int, Field(ge=1, le=10)] = 7

    @model_validator(mode="after")
    def _can_be_met(self) -> RubricShape:
        if self.wanted[0] > self.wanted[1] or self.faults[0] > self.faults[1]:
            raise ValueError("write the fewest criteria first, then the most")
        return self

    def fault(self, challenge: Challenge) -> str:
        """What is wrong with a challenge's rubric, or ""."""
        weights = [criterion.weight for criterion in challenge.criteria]
        for name, (least, most), count in (
            ("positive", self.wanted, sum(weight > 0 for weight in weights)),
            ("negative", self.faults, sum(weight < 0 for weight in weights)),
        ):
            if not least <= count <= most:
                return f"rubric: {count} criteria of {name} weight, not {least} to {most}"
        if too_heavy := [weight for weight in weights if weight > self.heaviest]:
            return f"rubric: a weight of {too_heavy[0]}, more than {self.heaviest}"
        try:
            Rubric(criteria=challenge.criteria)
        except ValueError as error:
            return one_line(f"rubric: {error}")
        return ""


OPTIMISED = RubricShape()
"""What the paper's outer loop arrived at: no negative criteria, whole weights of 7 at most (arXiv 2606.25996)."""
PAPER = RubricShape(wanted=(7, 10), faults=(3, 5), heaviest=10)
"""The paper's first: 10 to 15 criteria, 3 to 5 of them for faults, weights -10 to 10."""


class Remark(Reply):
    """What the quality verifier says to one point. The reason comes first: what follows can go by it."""

    reason: Said
    holds: bool


class Inspection(Reply):
    """The reply of the quality verifier."""

    hidden: Remark
    """Neither context nor question gives the answer away."""
    reasoned: Remark
    """The answer takes reasoning over what is given, not recall of a fact."""
    sound: Remark
    """The reference is right by the source, and what checks an answer (rubric or reference) is clear and fair."""

    @property
    def fault(self) -> str:
        """The first point that does not hold, or ""."""
        points = (("leakage", self.hidden), ("recall", self.reasoned), ("unsound", self.sound))
        return next((one_line(f"{name}: {remark.reason}") for name, remark in points if not remark.holds), "")


class Asked(NamedTuple):
    """What is asked of a challenger."""

    earlier: Sequence[Round]
    """The source's rounds so far: it is told what became of their questions."""
    shape: RubricShape | None = OPTIMISED
    """Of the rubric; None where a program checks the answer."""
    guidance: Sequence[str] = ()


def write_challenge(talker: Talker, source: Source, asked: Asked, key: str, temperature: float) -> Challenge:
    """The challenger's next question from a source.

    Raises: Unusable when what it wrote is no challenge, one repair included; what the talker raises.
    """
    prompt = render("self_instruct_challenger", source=source.text, **asked._asdict())
    question = Question(
        messages=(Message("user", prompt.text),),
        schema=challenge_schema(asked.shape),
        max_tokens=8192,
        temperature=temperature,
        seed=seed_of("challenger", key),
        prompt=prompt.digest,
    )
    return ask_for(talker, question, Challenge, lambda challenge: _is_meant(challenge, asked.shape))


def challenge_schema(shape: RubricShape | None) -> dict[str, Any]:
    """JSON schema of `Challenge` with as many criteria as the shape allows, or with none."""
    schema = Challenge.model_json_schema()
    if shape is None:
        del schema["properties"]["criteria"], schema["$defs"]
        return schema
    del schema["properties"]["criteria"]["default"]
    least = shape.wanted[0] + shape.faults[0]
    schema["properties"]["criteria"] |= {"minItems": least, "maxItems": shape.wanted[1] + shape.faults[1]}
    lightest = -10 if shape.faults[1] else 1
    schema["$defs"]["Criterion"]["properties"]["weight"] |= {"minimum": lightest, "maximum": shape.heaviest}
    schema["required"].append("criteria")
    return schema


def fault_by_program(challenge: Challenge, shape: RubricShape | None) -> str:
    """What a program finds wrong with a challenge before any verifier is asked, or ""."""
    asked = f"{challenge.context}\n{challenge.question}"
    reference = " ".join(challenge.reference.split()).casefold()
    if len(reference) >= LONG_ENOUGH and reference in " ".join(asked.split()).casefold():
        return "leakage: the reference answer stands in what the solver is told"
    return shape.fault(challenge) if shape else ""


def inspect(talker: Talker, challenge: Challenge, source: Source, key: str) -> Inspection:
    """What the quality verifier says of a challenge.

    Raises: Unusable when that cannot be read, one repair included ("false" is no boolean); what the talker raises.
    """
    prompt = render("self_instruct_verifier", challenge=challenge, source=source.text)
    question = Question(
        messages=(Message("user", prompt.text),),
        max_tokens=4096,
        seed=seed_of("quality verifier", key),
        prompt=prompt.digest,
    )
    return ask_for(talker, question, Inspection)


def _is_meant(challenge: Challenge, shape: RubricShape | None) -> None:
    if shape is None and challenge.criteria:
        raise ValueError("criteria: a program checks the answer; leave them out")
