"""Critique: verifiers judge every sample; critics that are models, those that pass, as far as they are believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import exp
from statistics import median
from typing import TypeVar

from agents.critics import Critic
from agents.critics.pairwise import PairwiseCritic
from agents.critics.rubric import RubricCritic
from agents.critics.vote import Majority
from agents.talk import Talker
from agents.verdicts import CriticBrief, Finding, Rubric, Verdict
from loop.bench import Bench
from loop.calibration import Calibration, Judgement, as_check, calibrate, hold, hold_pair
from loop.gold import draw_trials, gold_of
from loop.judging import Judge
from loop.labels import labelled
from loop.players import talking
from loop.records import Critique, Sample, digest
from loop.room import CALIBRATIONS, CRITIQUES, Room, Screen
from loop.verifiers import Check

THREADS = 32
"""Questions at once, at the most; an endpoint is asked no faster than it stands."""
LOOKED_AT = 400
"""Samples among which known-wrong ones are looked for."""
PAIRS = 10
"""Pairs by which a critic's preference for a place is measured."""
WARM = 0.7
"""Temperature of a vote."""

Asked = TypeVar("Asked")
Said = TypeVar("Said")


def criticise(
    samples: Sequence[Sample],
    calibrations: Sequence[Calibration],
    room: Room,
    bench: Bench,
    judgement: Judgement | None = None,
) -> list[Critique]:
    """One critique a sample, in their order. A critic refuses what verifiers passed, and saves nothing.

    Args: judgement: of the reward model, where an earlier round trained one.
    """
    critiques = _verify(samples, bench.judge, room.screen)
    typical = round(median([len(row.response) for row in bench.demonstrations] or [0]))
    for seat in bench.critics:
        standing = [c for c in calibrations if c.seat == seat.name and c.believed]
        if not standing or bench.rubric is None:
            continue
        with talking(seat, "critic", room, CRITIQUES, bench) as talker:
            critic = next(c for c in _critics(talker, bench.rubric) if c.name == standing[0].critic)
            passed = [i for i, critique in enumerate(critiques) if critique.passed]
            briefs = [_brief(samples[i], critiques[i], typical) for i in passed]
            for i, verdict in zip(passed, _ask_all(critic.judge, briefs, room, bench), strict=True):
                critiques[i] = _with(critiques[i], verdict)
    if judgement and judgement.calibration.believed:
        critiques = [_rewarded(critique, judgement.rewards.get(critique.id)) for critique in critiques]
    return [
        _unjudged(critique) if sample.written else critique
        for sample, critique in zip(samples, critiques, strict=True)
    ]


def calibrate_critics(samples: Sequence[Sample], room: Room, bench: Bench) -> list[Calibration]:
    """How far each critic can be believed this round, by responses whose worth is known.

    One answer is tried first; where that is not believed, a vote of five of the same model is.
    """
    shown = sorted(samples, key=lambda sample: digest("gold", sample.id))[:LOOKED_AT]
    gold = gold_of(bench.demonstrations, [(sample, bench.judge.critique(sample)) for sample in shown])
    trials = draw_trials(gold, bench.seed, room.name)
    pairs = draw_trials(gold, bench.seed, room.name, pairs=True, size=PAIRS)
    found: list[Calibration] = []
    for seat in bench.critics if bench.rubric else ():
        with talking(seat, "critic", room, CALIBRATIONS, bench) as talker:
            places = calibrate(_ask_all(partial(hold_pair, PairwiseCritic(talker)), pairs, room, bench), bench.bar)
            for critic in _critics(talker, bench.rubric):
                drawn = calibrate(_ask_all(partial(hold, critic), trials, room, bench), bench.bar)
                found.append(
                    drawn.model_copy(
                        update={
                            "seat": seat.name, "position_bias": places.position_bias,
                            "prefers_first": places.prefers_first,
                        }
                    )
                )  # fmt: skip
                if drawn.believed:
                    break
        if not found[-1].believed:
            words = f"{seat.name} is not believed as a critic in round {room.name}: {found[-1].reason}"
            room.tell("critic", words)
    return found


def _critics(talker: Talker, rubric: Rubric | None) -> tuple[Critic, ...]:
    """What a model can be as a critic, the cheaper first: one answer, or the vote of five."""
    if rubric is None:
        return ()
    return RubricCritic(talker, rubric), Majority(RubricCritic(talker, rubric, temperature=WARM))


def _verify(samples: Sequence[Sample], judge: Judge, screen: Screen) -> list[Critique]:
    critiques = []
    for done, sample in enumerate(labelled(samples, judge.places), 1):
        critiques.append(judge.critique(sample))
        if done % 200 == 0:
            screen.progress(done, len(samples), "verifying")
    return critiques


def _ask_all(ask: Callable[[Asked], Said], what: Sequence[Asked], room: Room, bench: Bench) -> list[Said]:
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


def _brief(sample: Sample, critique: Critique, typical: int) -> CriticBrief:
    findings = tuple(Finding(name=c.name, verdict=c.verdict, detail=c.detail) for c in critique.checks)
    return CriticBrief(
        key=sample.id, problem=sample.problem.prompt, response=sample.response, findings=findings, typical=typical
    )


def _unjudged(critique: Critique) -> Critique:
    """A written text, refused where neither a program nor a critic that is believed has found it good."""
    good = any(check.verdict == "passed" for check in critique.checks)
    return (
        critique
        if good or not critique.passed
        else critique.model_copy(update={"passed": False, "reason": "nobody judged it"})
    )


def _with(critique: Critique, verdict: Verdict) -> Critique:
    said = {"score": verdict.score, "template": verdict.prompt}
    return _checked(critique, as_check(verdict)).model_copy(update=said)


def _rewarded(critique: Critique, reward: float | None) -> Critique:
    """With what the reward model says, of one that everybody else has passed; its score by Bradley and Terry."""
    if reward is None or not critique.passed:
        return critique
    check = Check(name="reward", verdict="passed" if reward > 0 else "failed", detail=f"reward {reward:.3f}")
    return _checked(critique, check).model_copy(update={"score": 1 / (1 + exp(-max(-500.0, reward)))})


def _checked(critique: Critique, check: Check) -> Critique:
    """With one more check, which has the last word."""
    refused = check.verdict == "failed"
    found = {"passed": not refused, "reason": "refused by a critic" if refused else ""}
    return critique.model_copy(update={"checks": (*critique.checks, check), **found})
