"""The loop over one source text: challenge, verify, weak attempts, strong attempts, accept or a new angle.

What stands here routes and writes feedback; it never reads the source itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents.selfinstruct.angles import feedback, nearest
from agents.selfinstruct.bands import Bands, Heading, Refusal
from agents.selfinstruct.fairness import SolverPrompts, check_edit, check_same, digest_of, solver_prompts
from agents.selfinstruct.judges import Counted, Judge, believed
from agents.selfinstruct.roles import OPTIMISED, Asked, RubricShape, fault_by_program, inspect, write_challenge
from agents.selfinstruct.rows import (
    Accepted,
    Calls,
    Challenge,
    Prompts,
    Round,
    Source,
    Tried,
    accepted_of,
    key_of,
    scores_of,
)
from agents.selfinstruct.solvers import Solver
from agents.talk import Talker, Unusable
from agents.verdicts import one_line


class Settings(BaseModel):
    """How questions are sought and accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: Bands
    rubric: RubricShape | None = OPTIMISED
    """None where a program checks the answer."""
    rounds: Annotated[int, Field(ge=1, le=64)] = 8
    """Questions of one source at most. Published: 6.59 of CS on average; of law 4.98, at most 19."""
    place: str = ""
    """Where the answer has to stand, as in `sample.md.j2`: "####", "boxed", "tags"; "" leaves it open."""
    strong_sees_source: bool = False
    """Whether the strong solver is told the source too. Then it may be the weak one's own model."""
    near: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of words in common from which a question is an edit of an earlier one, and no new angle."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Of the challenger."""
    guidance: tuple[Annotated[str, Field(min_length=1, max_length=300)], ...] = ()
    """What the challenger is told beside its prompt, such as a harness of `loop evolve`; it names no solver."""

    @model_validator(mode="after")
    def _guides_fairly(self) -> Settings:
        for line in self.guidance:
            check_edit(line)
        return self


@dataclass(frozen=True)
class Roles:
    """Who plays which role; weak and strong solver may be one model in two modes."""

    challenger: Talker
    verifier: Talker
    weak: Solver
    strong: Solver
    judge: Judge

    @property
    def models(self) -> dict[str, str]:
        """Their names."""
        return {
            "challenger": self.challenger.model, "verifier": self.verifier.model, "weak": self.weak.name,
            "strong": self.strong.name, "judge": self.judge.name,
        }  # fmt: skip


@dataclass
class _Draft:
    """A round while it is played."""

    challenge: Challenge | None = None
    prompt: str = ""
    passage: str = ""
    weak_bytes: str = ""
    strong_bytes: str = ""
    weak: tuple[Tried, ...] = ()
    strong: tuple[Tried, ...] = ()
    calls: Counter[str] = field(default_factory=Counter)
    prompts: dict[str, str] = field(default_factory=dict)


class SelfInstruct:
    """Seeks one accepted question for each source. Safe to be used for several sources at once."""

    def __init__(self, roles: Roles, settings: Settings, seed: int) -> None:
        self._roles, self._settings, self._seed = roles, settings, seed

    def pursue(self, source: Source, earlier: Sequence[Round] = ()) -> Iterator[Round]:
        """The rounds of a source as they end, up to the first accepted one or the bound.

        Every key and seed comes of (seed, source, number): the same talkers are asked the same again after a crash.

        Args: earlier: rounds of this source that are done already.

        Raises: what talkers, solvers and judge raise when they cannot be had; the round in play is lost.
        """
        rounds = list(earlier)
        while len(rounds) < self._settings.rounds and not (rounds and rounds[-1].accepted):
            rounds.append(self._play(source, rounds))
            yield rounds[-1]

    def outcome(self, rounds: Sequence[Round]) -> Accepted | None:
        """What the rounds of a source have come to."""
        return accepted_of(rounds, self._settings.bands.name, self._roles.models)

    def _play(self, source: Source, earlier: Sequence[Round]) -> Round:
        key = key_of("self-instruct", self._seed, source.id, len(earlier) + 1)
        draft = _Draft()
        refusal = self._refuse(draft, source, earlier, key)
        return Round(
            id=key,
            source=source.id,
            number=len(earlier) + 1,
            challenge=draft.challenge,
            heading=refusal.heading if refusal else None,
            reason=refusal.reason if refusal else "",
            feedback=feedback(refusal, draft.weak, draft.strong) if refusal else "",
            prompt=draft.prompt,
            passage=draft.passage,
            weak_bytes=draft.weak_bytes,
            strong_bytes=draft.strong_bytes,
            weak=draft.weak,
            strong=draft.strong,
            calls=Calls(**draft.calls),
            prompts=Prompts(**draft.prompts),
        )

    def _refuse(self, draft: _Draft, source: Source, earlier: Sequence[Round], key: str) -> Refusal | None:
        """The line of a round, up to the first step that refuses the question; None where none does."""
        bands = self._settings.bands
        try:
            challenge = draft.challenge = self._challenge(draft, source, earlier, key)
            if like := nearest(challenge.question, earlier, self._settings.near):
                return Refusal(Heading.REPEATED, f"too near to the question of round {like}")
            try:
                weak, strong, draft.passage = self._prompts(challenge, source)
            except ValueError as error:
                return Refusal(Heading.FAILED_VERIFIER, one_line(str(error)))
            if fault := self._fault(draft, challenge, source, key):
                return Refusal(Heading.FAILED_VERIFIER, fault)
        except Unusable as error:
            return Refusal(Heading.ERROR, one_line(str(error)))
        check_same(weak.text, strong.text, draft.passage)
        draft.prompt = weak.text
        draft.weak_bytes, draft.prompts["weak"] = digest_of(weak.text), weak.digest
        draft.weak = self._attempt(draft, "weak", weak.text, key)
        if lost := self._errors(draft.weak, "weak"):
            return lost
        if (refusal := bands.refuse_weak(scores_of(draft.weak))) or not bands.asks_strong:
            return refusal
        draft.strong_bytes, draft.prompts["strong"] = digest_of(strong.text), strong.digest
        draft.strong = self._attempt(draft, "strong", strong.text, key)
        return self._errors(draft.strong, "strong") or bands.refuse(scores_of(draft.weak), scores_of(draft.strong))

    def _challenge(self, draft: _Draft, source: Source, earlier: Sequence[Round], key: str) -> Challenge:
        counted = Counted(self._roles.challenger)
        asked = Asked(earlier, self._settings.rubric, self._settings.guidance)
        try:
            return write_challenge(counted, source, asked, key, self._settings.temperature)
        finally:
            _count(draft, "challenger", counted)

    def _prompts(self, challenge: Challenge, source: Source) -> SolverPrompts:
        """What the solvers are told. Raises ValueError when that speaks of them."""
        names = (self._roles.weak.name, self._roles.strong.name)
        passage = source.text if self._settings.strong_sees_source else ""
        return solver_prompts(challenge.context, challenge.question, self._settings.place, passage, names)

    def _fault(self, draft: _Draft, challenge: Challenge, source: Source, key: str) -> str:
        """What is wrong with the challenge itself, or "". A program looks first."""
        if fault := fault_by_program(challenge, self._settings.rubric):
            return fault
        counted = Counted(self._roles.verifier)
        try:
            return inspect(counted, challenge, source, key).fault
        finally:
            _count(draft, "verifier", counted)

    def _attempt(self, draft: _Draft, role: str, prompt: str, key: str) -> tuple[Tried, ...]:
        """The attempts of a solver, judged. One that is empty or cut off is asked again, once."""
        solver = self._roles.weak if role == "weak" else self._roles.strong
        n = self._settings.bands.weak_samples if role == "weak" else self._settings.bands.strong_samples
        attempts = solver.solve(prompt, n, f"{key}-{role}")
        failed = [i for i, attempt in enumerate(attempts) if attempt.problem]
        if failed:
            again = solver.solve(prompt, len(failed), f"{key}-{role}-again")
            for i, attempt in zip(failed, again, strict=True):
                attempts[i] = attempt
        draft.calls[role] += n + len(failed)
        tried = []
        for i, attempt in enumerate(attempts):
            score, detail = None, attempt.problem
            if not detail and draft.challenge is not None:
                scored = believed(self._roles.judge.score(draft.challenge, attempt.text, f"{key}-{role}-{i}"))
                score, detail = scored.score, scored.detail
                draft.calls["judge"] += scored.calls
                draft.prompts["judge"] = scored.prompt or draft.prompts.get("judge", "")
            tried.append(Tried(text=attempt.text, finish=attempt.finish, score=score, detail=detail))
        return tuple(tried)

    def _errors(self, tried: Sequence[Tried], role: str) -> Refusal | None:
        """The refusal for too few attempts with a score."""
        lost = [attempt.detail for attempt in tried if attempt.score is None]
        if len(lost) <= self._settings.bands.most_errors:
            return None
        return Refusal(Heading.ERROR, one_line(f"{len(lost)} of {len(tried)} {role} attempts lost: {lost[0]}"))


def _count(draft: _Draft, role: str, counted: Counted) -> None:
    draft.calls[role] += len(counted.asked)
    if counted.asked:
        draft.prompts[role] = counted.asked[-1]
