"""Reward: a critic that the loop trains itself, on the verdicts of all rounds so far, and that judges in the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loop.bench import Bench
from loop.calibration import Judgement, Outcome, calibrate
from loop.files import verify_manifest
from loop.gold import draw_trials, gold_of
from loop.jobs import PairJob, Rewarded, RewardJob, TrainJob
from loop.labels import labelled
from loop.pairing import pair_up
from loop.preference import Reward
from loop.records import Checkpoint, Sample, Spent
from loop.room import JUDGEMENT, REWARD, Room
from loop.run import Run
from loop.tried import Tried

NAME = "reward"
"""Its word in the cast, and its folder in a round."""
PAIRS_PER_PROBLEM = 4
EPOCHS = 3.0
RATE = 0.3
"""Times the student's learning rate: the area under the curve of a scratch student's judge was 0.999, 0.65 at 1."""


def last_reward(run: Run) -> Checkpoint | None:
    """The newest reward model of the closed rounds, verified; None where there is none yet.

    Raises: DamagedRunError when its folder is not what its manifest says.
    """
    for closed in reversed(run.ledger.rounds()):
        room = run.room(f"{closed.round:03}")
        model = room.fetch(REWARD).model if room.has(REWARD) else None
        if model is not None:
            verify_manifest(run.folder / model.path, model.manifest)
            return model
    return None


def judge_by_reward(run: Run, samples: Sequence[Sample], room: Room) -> Judgement | None:
    """What the newest reward model makes of a round's samples; None where there is none yet.

    Raises: DamagedRunError when its folder is not what its manifest says.
    """
    critic = last_reward(run)
    return room.once(JUDGEMENT, lambda: _judge(critic, samples, room, run.bench)) if critic else None


def learn_to_judge(tried: Iterable[Tried], student: Checkpoint, room: Room, bench: Bench) -> Reward:
    """A reward model from the student's own weights, trained on pairs of all rounds.

    Raises: BudgetSpent when a limit ends it early.
    """
    return room.once(REWARD, lambda: _learn(tried, student, room, bench))


def _learn(tried: Iterable[Tried], student: Checkpoint, room: Room, bench: Bench) -> Reward:
    pairs = pair_up(tried, PAIRS_PER_PROBLEM, bench.exams)
    if not pairs:
        return Reward(pairs=0, model=None)
    out, settings = room.new_checkpoint(), bench.student.settings
    train = TrainJob(
        start=str(bench.run / student.path),
        out=str(out),
        rows=(),
        settings=settings.model_copy(update={"learning_rate": RATE * settings.learning_rate}),
        weights=bench.student.weights,
        seed=bench.seed_for(room.name, NAME),
        epochs=EPOCHS,
        limits=bench.meter.limits((room.name, REWARD.name)),
        log=str(bench.training_log(room, REWARD)),
    )
    job = PairJob(train, tuple((pair.prompt, pair.chosen, pair.rejected) for pair in pairs))
    trained = bench.train(room, REWARD, NAME, job)
    path, manifest = room.publish_checkpoint(out, NAME)
    model = Checkpoint(
        path=path, manifest=manifest, parameters=trained.parameters, steps=trained.steps, tokens=trained.tokens,
        loss=trained.loss,
    )  # fmt: skip
    return Reward(pairs=len(pairs), model=model)


def _judge(critic: Checkpoint, samples: Sequence[Sample], room: Room, bench: Bench) -> Judgement:
    """Its rewards for what the verifiers pass, and how well it tells the round's gold: only then it is believed."""
    judged = [(sample, bench.judge.critique(sample)) for sample in labelled(samples, bench.judge.places)]
    passed = [sample for sample, critique in judged if critique.passed]
    trials = draw_trials(gold_of(bench.demonstrations, judged), bench.seed, room.name)
    texts = [(t.problem, t.response) for t in trials] + [(s.problem.prompt, s.response.strip()) for s in passed]
    job = RewardJob(str(bench.run / critic.path), tuple(texts), bench.student.settings)
    scripted = bench.student.engine == "scripted"
    done = bench.do(f"loop.{'scripted' if scripted else 'training.reward'}:score", job, room, JUDGEMENT)
    read: Rewarded = done.result
    spent = Spent(tokens_sampled=read.tokens, flops=2.0 * read.parameters * read.tokens)
    room.spend(JUDGEMENT, spent, read.engine_seconds, done.peak_bytes)
    outcomes = [
        Outcome(key=trial.key, kind=trial.kind, of=trial.of, critic=NAME, accepted=reward > 0)
        for trial, reward in zip(trials, read.rewards, strict=False)
    ]
    gauged = calibrate(outcomes, bench.bar).model_copy(update={"seat": NAME, "critic": NAME})
    if not gauged.believed:
        words = f"the reward model is not believed as a critic in round {room.name}: {gauged.reason}"
        room.tell("critic", words)
    rewards = zip(passed, read.rewards[len(trials) :], strict=True)
    return Judgement(calibration=gauged, rewards={sample.id: reward for sample, reward in rewards})
