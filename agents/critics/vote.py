"""The vote: several answers of one critic, and how many of them a response needs."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Literal

from agents.critics import decided_before
from agents.critics.rubric import RubricCritic
from agents.verdicts import CriticBrief, Verdict


class Majority:
    """A critic that is asked up to `n` times and passes what `bar` of its answers pass; see `Critic`.

    4 of 5 is the bar of Lee et al. (arXiv 2502.01612). Answers that cannot be used are no votes: where they leave
    the outcome open, it is an error. Asking ends as soon as the outcome is settled.
    """

    def __init__(self, critic: RubricCritic, n: int = 5, bar: int = 4) -> None:
        """Raises ValueError for a bar that is no majority of n, or answers that would all be the same."""
        if not n // 2 < bar <= n:
            raise ValueError(f"a bar of {bar} is no majority of {n}")
        if n > 1 and critic.temperature <= 0:
            raise ValueError("a vote needs a critic with a temperature above 0")
        self._critic, self._n, self._bar = critic, n, bar
        self.name = f"{bar} of {n} {critic.name}"

    def judge(self, brief: CriticBrief, *, guarded: bool = True) -> Verdict:
        """See Critic."""
        if decided := decided_before(brief, guarded):
            return decided
        said: list[Verdict] = []
        for sample in range(self._n):
            said.append(self._critic.mark(brief, sample))
            if self._outcome(said) != "error":
                break
        outcome = self._outcome(said)
        counts = Counter(verdict.status for verdict in said)
        votes = (counts["passed"], counts["failed"], counts["error"])
        shown = next((verdict for verdict in said if verdict.status == outcome), said[-1])
        scores = [verdict.score for verdict in said if verdict.score is not None]
        return shown.model_copy(
            update={"status": outcome, "by": "vote", "votes": votes, "score": fmean(scores) if scores else None}
        )

    def _outcome(self, said: list[Verdict]) -> Literal["passed", "failed", "error"]:
        counts = Counter(verdict.status for verdict in said)
        if counts["passed"] >= self._bar:
            return "passed"
        return "failed" if counts["failed"] > self._n - self._bar else "error"
