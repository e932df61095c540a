"""The refiner: a model that cleans documents by writing programs of a few calls. The loop executes them.

ProX (arXiv 2409.17115): a model of 0.3B parameters is enough, since it writes programs and never the text itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from agents.critics import seed_of
from agents.prompts import Prompt, render
from agents.strategies import Reply
from agents.talk import Message, Question, Talker, ask_for
from agents.verdicts import Said

MOST_CALLS = 200

Line = Annotated[int, Field(ge=1)]
"""Number of a line in its chunk, from 1."""


class KeepAll(Reply):
    """Leave the chunk as it is."""

    op: Literal["keep_all"]


class RemoveAll(Reply):
    """Take the whole chunk away."""

    op: Literal["remove_all"]


class RemoveLines(Reply):
    """Take the lines from start to end away, both included."""

    op: Literal["remove_lines"]
    start: Line
    end: Line


class Normalize(Reply):
    """Put the target in place of the source wherever a line has it."""

    op: Literal["normalize"]
    source: Annotated[str, Field(min_length=1)]
    target: str


Call = Annotated[KeepAll | RemoveAll | RemoveLines | Normalize, Field(discriminator="op")]
_CALL: TypeAdapter[KeepAll | RemoveAll | RemoveLines | Normalize] = TypeAdapter(Call)


class Program(Reply):
    """The reply to a chunk. One call that is none spoils no other, so each is read apart; see `read_call`."""

    calls: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MOST_CALLS)]


class Fate(Reply):
    """The reply to a document as a whole."""

    reason: Said
    verdict: Literal["keep", "drop"]


class _WellFormed(Reply):
    calls: Annotated[tuple[Call, ...], Field(min_length=1, max_length=MOST_CALLS)]


SCHEMA = _WellFormed.model_json_schema()
"""Of a program, for engines with structured output: stricter than what is read."""


def read_call(said: Any) -> KeepAll | RemoveAll | RemoveLines | Normalize | None:
    """A call of a program; None where it is malformed: of an unknown op, or with other arguments than the op's."""
    try:
        return _CALL.validate_python(said, strict=True)
    except ValidationError:
        return None


def document_prompt(text: str) -> Prompt:
    """How the model is asked about a document."""
    return render("refine_document", text=text)


def chunk_prompt(lines: Sequence[str]) -> Prompt:
    """How the model is asked about a chunk."""
    return render("refine_chunk", lines=lines)


def judge_document(talker: Talker, text: str) -> Fate:
    """Whether the document is kept.

    Raises: Unusable; what `Talker.ask` raises.
    """
    return ask_for(talker, _question(document_prompt(text)), Fate)


def write_program(talker: Talker, lines: Sequence[str]) -> Program:
    """What is to be done to a chunk, given as its lines.

    Raises: Unusable; what `Talker.ask` raises.
    """
    return ask_for(talker, _question(chunk_prompt(lines), SCHEMA), Program)


def _question(prompt: Prompt, schema: dict[str, Any] | None = None) -> Question:
    return Question(
        messages=(Message("user", prompt.text),), schema=schema, seed=seed_of("refine", prompt.text),
        prompt=prompt.digest,
    )  # fmt: skip
