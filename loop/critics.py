"""Critics: the models of the cast that judge, and what a verdict of theirs does to a critique.

One place for samples and for answers that are rewarded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TypeVar

from agents.critics import Critic
from agents.critics.rubric import RubricCritic
from agents.critics.vote import Majority
from agents.talk import Talker
from agents.verdicts import CriticBrief, Finding, Rubric, Verdict
from loop.bench import Bench
from loop.calibration import Calibration, as_check
from loop.records import Critique, Sample
from loop.room import Room
from loop.seats import Seat
from loop.verifiers import Check

THREADS = 32
"""Questions at once, at the most; an endpoint is asked no faster than it stands."""
WARM = 0.7
"""Temperature of a vote."""

Asked = TypeVar("Asked")
Said = TypeVar("Said")


def critics_of(talker: Talker, rubric: Rubric | None) -> tuple[Critic, ...]:
    """What a model can be as a critic, the cheaper first: one answer, or the vote of five."""
    if rubric is None:
        return ()
    return RubricCritic(talker, rubric), Majority(RubricCritic(talker, rubric, temperature=WARM))


def believed_of(seat: Seat, calibrations: Sequence[Calibration]) -> Calibration | None:
    """The calibration by which a model is believed this round; None where it is not."""
    return next((c for c in calibrations if c.seat == seat.name and c.believed), None)


def believed_critic(talker: Talker, calibration: Calibration, rubric: Rubric) -> Critic:
    """The model as that critic which is believed."""
    return next(critic for critic in critics_of(talker, rubric) if critic.name == calibration.critic)


def heed(
    critic: Critic, samples: Sequence[Sample], critiques: Sequence[Critique], room: Room, bench: Bench
) -> list[Critique]:
    """The critiques with the critic's verdicts on the samples that passed so far: it can only refuse.

    An answer of it that cannot be used leaves a sample as it was.
    """
    typical = round(median([len(row.response) for row in bench.demonstrations] or [0]))
    passed = [i for i, critique in enumerate(critiques) if critique.passed]
    briefs = [_brief(samples[i], critiques[i], typical) for i in passed]
    heeded = list(critiques)
    for i, verdict in zip(passed, ask_all(critic.judge, briefs, room, bench), strict=True):
        heeded[i] = _with(critiques[i], verdict)
    return heeded


def ask_all(ask: Callable[[Asked], Said], what: Sequence[Asked], room: Room, bench: Bench) -> list[Said]:
    """The answers in order. The first error ends the asking; what was answered until then is kept."""
    said: list[Said] = []
    pool = ThreadPoolExecutor(THREADS)
    try:
        for answer in pool.map(ask, what):
            said.append(answer)
            bench.crew.tick()
            room.screen.progress(len(said), len(what), "judging")
    finally:
        pool.shutdown(cancel_futures=True)
    return said


def checked(critique: Critique, check: Check) -> Critique:
    """With one more check, which has the last word."""
    refused = check.verdict == "failed"
    found = {"passed": not refused, "reason": "refused by a critic" if refused else ""}
    return critique.model_copy(update={"checks": (*critique.checks, check), **found})


def _brief(sample: Sample, critique: Critique, typical: int) -> CriticBrief:
    findings = tuple(Finding(name=c.name, verdict=c.verdict, detail=c.detail) for c in critique.checks)
    return CriticBrief(
        key=sample.id, problem=sample.problem.prompt, response=sample.response, findings=findings, typical=typical
    )


def _with(critique: Critique, verdict: Verdict) -> Critique:
    said = {"score": verdict.score, "template": verdict.prompt}
    return checked(critique, as_check(verdict)).model_copy(update=said)
