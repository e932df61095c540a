"""Written: what a strategy that writes came to, row by row, with its lineage; or why it came to nothing."""

from __future__ import annotations

from agents.selfinstruct.bands import Bands
from agents.selfinstruct.rows import Accepted, Round
from agents.writers import Refused, Written
from loop.records import Record
from loop.verifiers import Check


class Piece(Record):
    """What a strategy that writes came to, once."""

    place: int
    """Of the strategy in the plan."""
    author: str
    """The strategy's kind."""
    model: str
    """Who wrote, by the name in the cast."""
    written: Written | None = None
    refused: Refused | None = None
    """Why it came to nothing."""
    question: Accepted | None = None
    """Of agentic self-instruct: the question with its scores, its solvers and the rounds that led to it."""
    judged: Check | None = None
    """What the judge found of the response to it, where no program does."""

    @classmethod
    def of(cls, place: int, author: str, model: str, row: Written | Refused) -> Piece:
        """A writer's row as the loop keeps it."""
        if isinstance(row, Written):
            return cls(place=place, author=author, model=model, written=row)
        return cls(place=place, author=author, model=model, refused=row)

    @property
    def is_text(self) -> bool:
        """Whether it is learnt as it was written: it has a response, and claims no final answer to vote on.

        That of an accepted question is no claim: source, quality verifier and strong solver agree on it.
        """
        is_settled = self.written is not None and (not self.written.answer or self.question is not None)
        return is_settled and self.written is not None and bool(self.written.response)


class Sought(Record):
    """What agentic self-instruct came to with one source: every question, the refused ones with their headings."""

    place: int
    """Of the strategy in the plan."""
    source: str
    """Id of the extract."""
    pilot: bool
    """Whether it served to calibrate the bands: then any question with weak scores was accepted, and none is kept."""
    by_program: bool
    wanted: Bands
    """As planned."""
    bands: Bands
    """By which it was decided: moved to the weak solver at hand, where a pilot did."""
    models: dict[str, str]
    """Who played which role."""
    rounds: tuple[Round, ...]
    accepted: Accepted | None
