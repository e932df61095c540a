"""Trained: what a training came back with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from loop.reinforcement import Reinforcement


@dataclass(frozen=True)
class Trained:
    """What training came to."""

    parameters: int
    steps: int
    tokens: int
    """Non-padding tokens trained on."""
    loss: float | None
    engine_seconds: float
    sampled_tokens: int = 0
    """Tokens of prompts and completions that the student drew meanwhile."""
    looks: tuple[dict[str, float], ...] = ()
    """Step, loss and tokens at each look at held-out rows; in round 0 also the accuracy."""
    held_out: int = 0
    """Rows that were looked at and not trained on."""
    kept: int | None = None
    """Of these looks, the step of the one whose weights were kept."""
    stopped: str = ""
    """The limit that ended training early, or ""."""
    read_flops: float = 0.0
    """Of forward passes that nothing is learnt through: a teacher's, a reference's, and those of measuring."""
    reinforced: Reinforcement | None = None
    """What the answers were worth, where it was trained by reward."""
    distilled: dict[str, Any] | None = None
    """Of distillation: a Distilled of loop/links.py."""

    rows_at_once: int = 0
    """As in the job that was done in the end; 0 where memory held all rows of a step."""
    recompute: bool = False
    note: str = ""
    """What a person should know of how it went: that it went on from a step, say."""

    @property
    def matched(self) -> int:
        """Tokens whose training alone costs as many FLOPs (6 for each parameter), rounded up: what is sampled costs 2
        for each parameter, what is only read its own.
        """
        return self.tokens + math.ceil((2.0 * self.sampled_tokens + self.read_flops / self.parameters) / 6.0)
