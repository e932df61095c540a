"""The rubric critic: a model says which criteria a response meets; what that comes to is computed here."""

from __future__ import annotations

from typing import Literal

from agents.critics import decided_before, seed_of
from agents.prompts import Prompt, render
from agents.talk import Message, Question, Talker, Unusable, ask_for
from agents.verdicts import CriticBrief, Marks, Rubric, Verdict, marks_schema, one_line


class RubricCritic:
    """Marks every criterion of a rubric, with a reason; see `Critic`.

    A failed verifier check or a guard decides alone: no model is asked about a response that a program has shown
    to be wrong. Otherwise the score decides, from the rubric's threshold on.
    """

    def __init__(
        self,
        talker: Talker,
        rubric: Rubric,
        *,
        temperature: float = 0.0,
        max_tokens: int = 4096,
        shows_reference: bool = False,
    ) -> None:
        self._talker, self._rubric = talker, rubric
        self.temperature, self._max_tokens, self._shows_reference = temperature, max_tokens, shows_reference
        self._schema = marks_schema(rubric)
        self.name = f"rubric {talker.model}"

    def judge(self, brief: CriticBrief, *, guarded: bool = True) -> Verdict:
        """See Critic."""
        return decided_before(brief, guarded) or self.mark(brief)

    def mark(self, brief: CriticBrief, sample: int = 0) -> Verdict:
        """The model's verdict alone, no guard before it; `sample` numbers the answers of a vote."""
        prompt = self._prompt(brief)
        question = Question(
            messages=(Message("user", prompt.text),),
            schema=self._schema,
            max_tokens=self._max_tokens,
            temperature=self.temperature,
            seed=seed_of("critic", brief.key, brief.problem, brief.response, sample),
            prompt=prompt.digest,
        )
        try:
            said = ask_for(self._talker, question, Marks, lambda marks: marks.check_against(self._rubric))
        except Unusable as error:
            return Verdict(status="error", by="critic", detail=one_line(str(error)), prompt=prompt.digest)
        score = self._rubric.score({mark.criterion for mark in said.marks if mark.met})
        status: Literal["passed", "failed"] = "passed" if score >= self._rubric.threshold else "failed"
        detail = one_line(f"{score:.2f}: {self._against(said)}")
        return Verdict(
            status=status, by="critic", detail=detail, score=score, marks=said.marks, prompt=prompt.digest
        )  # fmt: skip

    def _prompt(self, brief: CriticBrief) -> Prompt:
        return render(
            "critic_rubric",
            criteria=self._rubric.criteria,
            problem=brief.problem,
            response=brief.response,
            findings=brief.findings,
            reference=brief.reference if self._shows_reference else None,
        )

    def _against(self, said: Marks) -> str:
        """What cost the response most."""
        weights = {criterion.name: criterion.weight for criterion in self._rubric.criteria}
        costs = [mark for mark in said.marks if mark.met == (weights[mark.criterion] < 0)]
        if not costs:
            return "every criterion met, no fault"
        worst = max(costs, key=lambda mark: abs(weights[mark.criterion]))
        return f"{worst.criterion}: {worst.reason}"
