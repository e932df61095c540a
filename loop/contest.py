"""The contest: which student is the best so far, and whom it is measured against on dev and on the sealed test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from loop.bench import keyed
from loop.errors import DamagedCheckpointError
from loop.evaluate import evaluate, examine
from loop.records import Checkpoint, Evaluation
from loop.room import ATTEMPTS, CHECKPOINT, EVALUATION, PLAN, Room
from loop.rounds import LOST, Round, best_of
from loop.run import Run
from loop.seats import Draw
from loop.train import train_control
from loop.weak_to_strong import recovered, weaker


def play_control(run: Run) -> None:
    """The same student, the demonstrations alone, the training compute of all rounds up to the best, as many looks at
    dev. Rounds that only trained on rows took their tokens; one that sampled while it trained, more.
    """
    bench, student = run.bench, run.room("000").fetch(CHECKPOINT)
    for closed in run.ledger.rounds()[1 : best_round(run).round + 1]:
        played = run.room(f"{closed.round:03}")
        if not played.has(CHECKPOINT):
            continue
        room, start = run.room(f"control/{closed.round:03}"), student
        trained = Checkpoint.model_validate(played.card(CHECKPOINT).detail)  # it may be damaged: nobody loads it
        tokens = max(trained.tokens, trained.matched)
        choice = played.fetch(PLAN).training
        student = room.once(CHECKPOINT, partial(train_control, tokens, choice, start, room, bench))
        examine("dev", student, room, run.bench)


def play_weak(run: Run) -> None:
    """The weak samplers of the best round sit dev, once; the ledger says what of their gap its student recovers."""
    bench, best = run.bench, best_round(run)
    if best.set_up != "weak-to-strong improvement" or best.checkpoint is None or best.dev is None:
        return
    looks = [room.fetch(EVALUATION).score.score for room in control_rooms(run)] if bench.demonstrations else []
    found = []
    seats = weaker([*bench.samplers.values(), *bench.teachers.values()], best.checkpoint.parameters)
    for place, seat in enumerate(seats):
        room, named = (
            run.room(f"sampler/{place}"),
            Checkpoint(path="", manifest=seat.name, parameters=seat.parameters),
        )
        drawn = room.once(ATTEMPTS, partial(bench.draw, room, ATTEMPTS, [Draw(seat, keyed(bench.tasks.dev))]))
        sat = room.once(EVALUATION, partial(evaluate, "dev", drawn, named, bench.judge))
        found.append(recovered(seat.name, sat.score.score, best.dev.score, max(looks, default=None)))
    run.ledger.set_facts(recovered=[one.model_dump() for one in found])


def play_test(run: Run) -> None:
    """Open the sealed test: the best student, and beside it the control's best and the student of round 0."""
    students, best = contestants(run), best_round(run)
    for name, checkpoint in students.items():
        examine("test", checkpoint, run.room(f"test/{best.round:03}-{name}"), run.bench)


def contestants(run: Run) -> dict[str, Checkpoint]:
    """Who sits the test: best, start, and the control's checkpoint with the highest dev score."""
    found = {"best": best_so_far(run)[0], "start": run.room("000").fetch(CHECKPOINT)}
    controls = list(control_rooms(run))
    if controls:
        room = max(controls, key=lambda r: r.fetch(EVALUATION).score.score)
        found["control"] = room.fetch(CHECKPOINT)
    return found


def control_rooms(run: Run) -> Iterator[Room]:
    """The finished stretches of the control, up to the best round."""
    for number in range(1, best_round(run).round + 1):
        room = run.room(f"control/{number:03}")
        if room.has(EVALUATION):
            yield room


def best_round(run: Run) -> Round:
    """The last round that was kept and is not lost, or round 0."""
    best = best_of(run.ledger.rounds(), run.ledger.fact(LOST) or ())
    assert best is not None, "round 0 is closed before any other begins"
    return best


def best_so_far(run: Run) -> tuple[Checkpoint, Evaluation]:
    """The best checkpoint, verified, and how it did on dev.

    One that is damaged on the disk is given up for good, with a note: the run rolls back to the one kept before it,
    and what its round added to the data stays.

    Raises: DamagedRunError when that of round 0 is damaged, which every gain is measured from.
    """
    best = best_round(run)
    room = run.room(f"{best.round:03}")
    try:
        return room.fetch(CHECKPOINT), room.fetch(EVALUATION)
    except DamagedCheckpointError as error:
        if best.round == 0:
            raise
        what = str(error).partition(";")[0]
        lost = f"the student of round {best.round} is lost; the one kept before it is the best again ({what})"
    run.ledger.event_once("rollback", lost)
    run.screen.note(lost)
    run.ledger.set_facts(**{LOST: [*(run.ledger.fact(LOST) or ()), best.round]})
    return best_so_far(run)
