"""Drilled: a problem that the student is reinforced on, as it stands in the round's drills.jsonl."""

from __future__ import annotations

from loop.records import Problem, Record


class Drill(Record):
    """A problem to be reinforced on, with what its samples told."""

    id: str
    """The problem's."""
    problem: Problem
    tried: int
    passed: int
    rate: float
    """Expected share of right answers: its samples', drawn towards that of its cell."""
