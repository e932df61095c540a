"""Preference: right attempts beside wrong ones, and the critic that learns from them. Records."""

from __future__ import annotations

from loop.records import Checkpoint, Record


class Pair(Record):
    """A right and a wrong attempt at the same problem, to learn a preference from."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_id: str
    """Of the sample, or of the demonstration as an example."""
    rejected_id: str
    round: int
    """In which the rejected attempt was drawn."""
    hardness: float
    """0 to 1: see loop/pairing.py."""


class Reward(Record):
    """A critic that a round has trained for the next ones."""

    pairs: int
    """That it learnt from."""
    model: Checkpoint | None
    """None where there was no pair yet."""
