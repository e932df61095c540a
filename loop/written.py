"""Written: what a strategy that writes came to, row by row, with its lineage; or why it came to nothing."""

from __future__ import annotations

from agents.writers import Refused, Written
from loop.records import Record


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

    @classmethod
    def of(cls, place: int, author: str, model: str, row: Written | Refused) -> Piece:
        """A writer's row as the loop keeps it."""
        if isinstance(row, Written):
            return cls(place=place, author=author, model=model, written=row)
        return cls(place=place, author=author, model=model, refused=row)

    @property
    def is_text(self) -> bool:
        """Whether it is learnt as it was written: it has a response, and claims no final answer to vote on."""
        return self.written is not None and bool(self.written.response) and not self.written.answer
