"""Critique: verifiers judge every sample; critics that are models, those that pass, as far as they are believed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import exp

from agents.critics.pairwise import PairwiseCritic
from loop.bench import Bench
from loop.calibration import Calibration, Judgement, calibrate, hold, hold_pair
from loop.critics import ask_all, believed_critic, believed_of, checked, critics_of, heed
from loop.gold import draw_trials, gold_of
from loop.judging import Judge
from loop.labels import labelled
from loop.players import talking
from loop.records import Critique, Sample, digest
from loop.room import CALIBRATIONS, CRITIQUES, Room, Screen
from loop.verifiers import Check

LOOKED_AT = 400
"""Samples among which known-wrong ones are looked for."""
PAIRS = 10
"""Pairs by which a critic's preference for a place is measured."""


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
    for seat in bench.critics:
        believed = believed_of(seat, calibrations)
        if believed is None or bench.rubric is None:
            continue
        with talking(seat, "critic", room, CRITIQUES, bench) as talker:
            critic = believed_critic(talker, believed, bench.rubric)
            critiques = heed(critic, samples, critiques, room, bench)
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
            places = calibrate(ask_all(partial(hold_pair, PairwiseCritic(talker)), pairs, room, bench), bench.bar)
            for critic in critics_of(talker, bench.rubric):
                drawn = calibrate(ask_all(partial(hold, critic), trials, room, bench), bench.bar)
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


def _verify(samples: Sequence[Sample], judge: Judge, screen: Screen) -> list[Critique]:
    critiques = []
    for done, sample in enumerate(labelled(samples, judge.places), 1):
        critiques.append(judge.critique(sample))
        if done % 200 == 0:
            screen.progress(done, len(samples), "verifying")
    return critiques


def _unjudged(critique: Critique) -> Critique:
    """A written text, refused where neither a program nor a critic that is believed has found it good."""
    good = any(check.verdict == "passed" for check in critique.checks)
    return (
        critique
        if good or not critique.passed
        else critique.model_copy(update={"passed": False, "reason": "nobody judged it"})
    )


def _rewarded(critique: Critique, reward: float | None) -> Critique:
    """With what the reward model says, of one that everybody else has passed; its score by Bradley and Terry."""
    if reward is None or not critique.passed:
        return critique
    check = Check(name="reward", verdict="passed" if reward > 0 else "failed", detail=f"reward {reward:.3f}")
    return checked(critique, check).model_copy(update={"score": 1 / (1 + exp(-max(-500.0, reward)))})
