"""Reinforcement: what a training by reward came to, and the count that it is made of. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean


@dataclass(frozen=True)
class Reinforcement:
    """Groups of answers to the same problem, by what their rewards told."""

    group: int
    """Answers to a problem."""
    problems: int
    """Distinct ones that were drawn from."""
    groups: int = 0
    all_right: int = 0
    """Groups whose answers all got the same reward, above 0: nothing in them tells a better answer from a worse."""
    all_wrong: int = 0
    """Groups whose answers all got 0."""
    samples: int = 0
    truncated: int = 0
    """Answers cut off at the limit of tokens."""
    empty: int = 0
    clipped: float = 0.0
    """Share of the tokens that the clipping took out of the loss: mean over the steps."""
    rewards: tuple[float, ...] = ()
    """Mean reward of each batch of answers, in order."""


class Count:
    """Counts batches of whole groups as they are answered."""

    def __init__(self, group: int, problems: int) -> None:
        self._told = Reinforcement(group, problems)
        self._clipped: list[float] = []

    @property
    def told(self) -> Reinforcement:
        """What was counted so far."""
        return replace(self._told, clipped=fmean(self._clipped) if self._clipped else 0.0)

    def add(self, rewards: Sequence[float], truncated: int, empty: int) -> None:
        """A batch: its rewards, one group after the other, and how many of its answers were errors."""
        now = self._told
        groups = [rewards[at : at + now.group] for at in range(0, len(rewards), now.group)]
        agreeing = [group[0] for group in groups if min(group) == max(group)]
        self._told = replace(
            now,
            groups=now.groups + len(groups),
            all_right=now.all_right + sum(reward > 0 for reward in agreeing),
            all_wrong=now.all_wrong + sum(reward <= 0 for reward in agreeing),
            samples=now.samples + len(rewards),
            truncated=now.truncated + truncated,
            empty=now.empty + empty,
            rewards=(*now.rewards, round(fmean(rewards), 4)),
        )

    def add_step(self, clipped: float) -> None:
        """A step: the share of its tokens that were clipped."""
        self._clipped.append(clipped)
