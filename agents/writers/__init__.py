"""Writers: strategies that have a model write new problems and texts. What starts one, and what may come of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from agents.writers.settings import Writing

Kind = Literal["extract", "demonstration", "failure", "document"]

MOST_OF_STEP = 4000
"""Characters of a stage's text that a lineage keeps."""


@dataclass(frozen=True)
class Source:
    """What a writer starts from."""

    id: str
    """Digest of its content."""
    kind: Kind
    text: str
    """Of an extract or document; the prompt of a demonstration or failure."""
    title: str = ""
    answer: str = ""
    """A demonstration's response; a failure's right answer."""
    wrong: str = ""
    """A failure's wrong response."""
    synthetic: bool = False
    """Whether a strategy wrote it: variants of failures never build on such."""
    refined: str = ""
    """Digest of an extract's text where a refiner has cleaned it; `id` is of the extract as it stood."""


@dataclass(frozen=True)
class Order:
    """What is to be written. The same order, put to a talker that answers the same, gives the same rows."""

    seed: int
    round: str
    settings: Writing
    sources: tuple[Source, ...] = ()
    """In any order; each once. Kinds that the strategy cannot start from are left aside."""
    first: int = 0
    """Number of the first to be written: rounds that go on where the last one ended repeat no pair of topic and
    audience, and come to other sources."""
    place: str = ""
    """Where the final answer stands in a solution: `boxed`, `tags`, or a marker such as ####; "" where problems have
    no final answer."""
    opening: str = ""
    """For magpie: the model's own text up to where a user's turn begins; see agents/chat_template.py."""
    at_once: int = 1
    """Questions that may be out at the same time."""


class Row(BaseModel):
    """Base of what a writer gives: frozen, and a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(Row):
    """One stage of a lineage."""

    name: str
    text: str
    """What the model said, cut to `MOST_OF_STEP`."""
    prompt: str
    """Digest of the templates that asked; "" where a bare prompt was put to the model."""


class Written(Row):
    """One row that a strategy wrote, unjudged."""

    key: str
    """Digest of seed, round, strategy, source and number (and of its place, where one question gives several)."""
    prompt: str
    """What the student will be trained to answer; "" for a text that is learnt as it stands."""
    response: str
    """"" where a solver is to answer."""
    answer: str
    """The final answer as the writer claims it, "" where there is none: a claim, no label until it is checked."""
    parent: str
    """Id of the source, "" where there is none."""
    refined: str = ""
    """Of the source: see there."""
    lineage: tuple[Step, ...]
    facets: tuple[tuple[str, str], ...]
    """Topic, audience, persona, style, operator …: what diversity is measured by."""


class Refused(Row):
    """One that came to nothing: counted, never dropped in silence. Rows that its question gave before stay."""

    key: str
    parent: str
    stage: str
    reason: str


def digest_of(*parts: object) -> str:
    """The first 16 hex digits of the SHA-256 over the parts' canonical JSON."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
