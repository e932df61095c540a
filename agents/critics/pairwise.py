"""The pairwise critic: which of two responses is better, asked in both orders."""

from __future__ import annotations

from typing import Literal

from agents.critics import seed_of
from agents.critics.guards import refusal
from agents.prompts import render
from agents.talk import Message, Question, Talker, Unusable, ask_for
from agents.verdicts import PairBrief, PairVerdict, Preference, one_line

Place = Literal["first", "second", "tie"]
TURNED: dict[Place, Place] = {"first": "second", "second": "first", "tie": "tie"}


class PairwiseCritic:
    """Compares two responses; see `PairCritic`. What changes with the order is a tie (MT-Bench, arXiv 2306.05685).

    A response that a guard refuses loses unread; when both are refused, nobody is asked either.
    """

    def __init__(self, talker: Talker, *, max_tokens: int = 2048) -> None:
        self._talker, self._max_tokens = talker, max_tokens
        self.name = f"pairwise {talker.model}"

    def prefer(self, brief: PairBrief, *, guarded: bool = True) -> PairVerdict:
        """See PairCritic."""
        if guarded and (decided := _decided(brief)):
            return decided
        digest = ""
        named: list[Place] = []
        reasons = []
        for first, second in ((brief.first, brief.second), (brief.second, brief.first)):
            prompt = render("critic_pairwise", problem=brief.problem, first=first, second=second)
            digest = prompt.digest
            question = Question(
                messages=(Message("user", prompt.text),),
                max_tokens=self._max_tokens,
                seed=seed_of("pair", brief.key, brief.problem, first, second),
                prompt=digest,
            )
            try:
                said = ask_for(self._talker, question, Preference)
            except Unusable as error:
                return PairVerdict(
                    status="error", by="critic", detail=one_line(str(error)), named=tuple(named), prompt=digest
                )  # fmt: skip
            named.append(said.better)
            reasons.append(said.reason)
        agreed = named[0] == TURNED[named[1]]
        detail = reasons[0] if agreed else f"the order decides: {named[0]}, then {named[1]}"
        return PairVerdict(
            status=named[0] if agreed else "tie", by="critic", detail=one_line(detail), named=tuple(named),
            prompt=digest,
        )  # fmt: skip


def _decided(brief: PairBrief) -> PairVerdict | None:
    first, second = (refusal(brief.problem, text, brief.typical) for text in (brief.first, brief.second))
    if not first and not second:
        return None
    status: Place = "tie" if first and second else "second" if first else "first"
    return PairVerdict(status=status, by="guard", detail=one_line(first or second))
