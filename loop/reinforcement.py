"""Reinforcement: what a training by reward came to, and the count that it is made of. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

LOST = 1e-6
"""Odds against no right answer for so long, below which the student has unlearnt to answer."""
SURE = 0.9
"""The most that a mean reward is taken to promise of the next group."""


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
    critics: tuple[str, ...] = ()
    """Who could refuse a reward that the verifiers gave; none where the verifiers alone reward."""
    unheard: tuple[str, ...] = ()
    """Critics of the cast that could not, each with why."""
    refused: int = 0
    """Answers that the verifiers passed and a critic did not."""
    talk: int = 0
    """Tokens that the critics read and wrote: counted with the training, and none of the control's."""

    @property
    def brief(self) -> dict[str, int | float]:
        """In a few numbers, as an orchestrator is told: see `agents.briefs.RoundBrief`."""
        return {
            "groups": self.groups,
            "all_right": self.all_right,
            "all_wrong": self.all_wrong,
            "reward_first": self.rewards[0],
            "reward_last": self.rewards[-1],
            "cut_off": round(self.truncated / self.samples, 4),
            "clipped": round(self.clipped, 4),
            **({"refused_by_critics": round(self.refused / self.samples, 4)} if self.critics else {}),
        }


class Count:
    """Counts batches of whole groups as they are answered."""

    def __init__(
        self, group: int, problems: int, critics: tuple[str, ...] = (), unheard: tuple[str, ...] = ()
    ) -> None:
        self._told = Reinforcement(group, problems, critics=critics, unheard=unheard)
        self._clipped: list[float] = []

    @property
    def told(self) -> Reinforcement:
        """What was counted so far."""
        return replace(self._told, clipped=fmean(self._clipped) if self._clipped else 0.0)

    @property
    def is_lost(self) -> bool:
        """Whether nothing is right any more that by the mean reward until then should be, were a group one answer.

        So a training by reward diverges: its loss stays a number, near 0 whatever happens.
        """
        told = self._told
        right = [at for at, reward in enumerate(told.rewards, 1) if reward > 0]
        since = len(told.rewards) - max(right, default=0)
        if not right or not since:
            return False
        promised = min(SURE, fmean(told.rewards[: right[-1]]))
        odds: float = (1 - promised) ** (since * told.groups / len(told.rewards))
        return odds < LOST

    def add(self, rewards: Sequence[float], truncated: int, empty: int, refused: int = 0) -> None:
        """A batch: its rewards, one group after the other, and how many of its answers were errors or refused."""
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
            refused=now.refused + refused,
            rewards=(*now.rewards, round(fmean(rewards), 4)),
        )

    def add_step(self, clipped: float) -> None:
        """A step: the share of its tokens that were clipped."""
        self._clipped.append(clipped)
