"""The runner: plays rounds until the goal or the budget is reached, then the control, the test and the report."""

from __future__ import annotations

from collections.abc import Sequence

from agents.replies import Plan
from agents.training import DPO, GRPO
from loop.bench import Bench
from loop.briefing import brief_of
from loop.budget import BudgetSpent
from loop.calibration import Calibration
from loop.close import Judged, close_round
from loop.contest import best_round, best_so_far, play_control, play_test, play_weak
from loop.critique import calibrate_critics, criticise
from loop.curate import admit, demonstration_row, mix
from loop.decide import bar_of
from loop.diagnose import diagnose, sit_probe, tally_probe
from loop.drill import choose_drills
from loop.earlier import Earlier, earlier_examples
from loop.errors import ObjectiveError, StageError
from loop.evaluate import examine, measure_noise, sit_again
from loop.lessons import Lessons
from loop.pair import pair_attempts
from loop.plan import make_plan
from loop.prepare import annotate_extracts, prepare, with_prepared
from loop.records import Checkpoint, Critique, Example, Sample
from loop.repeats import Known
from loop.reward import judge_by_reward, learn_to_judge
from loop.room import (
    ADMISSIONS,
    AGAIN,
    ANNOTATIONS,
    CALIBRATIONS,
    CHECKPOINT,
    CRITIQUES,
    DATASET,
    DIAGNOSIS,
    DRILLS,
    PAIRS,
    PLAN,
    PREPARED,
    PROBE,
    ROUND,
    SAMPLES,
    SCORERS,
    SOUGHT,
    WRITTEN,
    Room,
)
from loop.rounds import Round
from loop.run import Run
from loop.sample import draw_samples
from loop.scorers import fit_scorers
from loop.seek import seek_questions
from loop.steady import steadily
from loop.train import make_student, train_student
from loop.tried import all_tried
from loop.verifier_gold import gauge_verifier
from loop.vitals import signs_of_collapse
from loop.write import write_pieces

FAILURES_IN_A_ROW = 3


def go(run: Run) -> None:
    """Work on the run until it is finished, wherever an earlier launch left it.

    Raises: StageError when rounds keep failing; other LoopErrors as they come.
    """
    if run.ledger.fact("evolution"):
        raise ObjectiveError(f"{run.folder}: is the folder of an evolution; name another with --run")
    if is_finished(run):
        run.screen.note("this run is finished; raise its budget or goal to prolong it")
        return
    run.ledger.set_facts(status="running")
    if run.bench.student.engine != "scripted":
        run.bench.crew.warm()
    if not run.ledger.rounds():
        steadily(run, "round 0", lambda: play_round_zero(run))
    reason = ""
    while _is_open(run) or not (reason := _end(run)):
        try:
            _play_or_fail(run, len(run.ledger.rounds()))
        except BudgetSpent as limit:
            reason = str(limit)
            break
    finish(run, reason)


def play_round_zero(run: Run) -> Round:
    """The converged student before the loop: what every gain is measured from."""
    room, bench = run.room("000"), run.bench
    student = room.once(CHECKPOINT, lambda: make_student(room, bench))
    evaluation = examine("dev", student, room, bench)
    again = room.once(AGAIN, lambda: sit_again(bench.tasks.dev, student, room, bench))
    probe = room.once(PROBE, lambda: sit_probe(student, Earlier(), room, bench))
    room.once(DIAGNOSIS, lambda: diagnose(probe, room, bench))
    closed = Round(
        round=0, status="start", dev=evaluation.score, checkpoint=student,
        dev_cells=evaluation.cells, probe=tally_probe(probe, bench.judge),
        noise=measure_noise(evaluation, again, bench.judge),
        gold=gauge_verifier(run.objective, bench.tasks, bench.judge, (*bench.demonstrations, *bench.held_out)),
    )  # fmt: skip
    return room.once(ROUND, lambda: closed)


def play_round(run: Run, number: int) -> Round:
    """One pass of the line: a stage a line, each done once however often the process dies."""
    room, bench = run.room(f"{number:03}"), run.bench
    best, best_exam = best_so_far(run)
    earlier, drawn = earlier_examples(run)
    plan = room.once(PLAN, lambda: make_plan(brief_of(run, drawn, room), room, bench))
    bench = prepare_documents(plan, best, room, bench)
    sought = room.once(SOUGHT, lambda: seek_questions(plan, drawn, best, room, bench)) if bench.parts else []
    pieces = room.once(WRITTEN, lambda: write_pieces(plan, sought, drawn, room, bench)) if bench.writers else []
    samples = room.once(SAMPLES, lambda: draw_samples(plan, pieces, best, drawn, room, bench))
    gauged = room.once(CALIBRATIONS, lambda: calibrate_critics(samples, room, bench)) if bench.critics else []
    said = judge_by_reward(run, samples, room) if bench.learns_to_judge else None
    critiques = room.once(CRITIQUES, lambda: criticise(samples, gauged, room, bench, said))
    known = Known(bench.exams, [*map(demonstration_row, bench.demonstrations), *earlier])
    admissions = room.once(ADMISSIONS, lambda: admit(number, plan, samples, critiques, known, bench.seed))
    newest = [a.example for a in admissions if a.example]
    dataset = room.once(DATASET, lambda: mix(bench.demonstrations, earlier, newest, plan.mixture))
    lessons = take_lessons(plan, dataset, samples, critiques, gauged, run, room)
    if bench.learns_to_judge:
        learn_to_judge(all_tried(run, number, samples, critiques), best, room, bench)
    start = best if plan.training.start == "best" else run.room("000").fetch(CHECKPOINT)
    student = room.once(CHECKPOINT, lambda: train_student(lessons, plan.training, start, room, bench))
    evaluation = examine("dev", student, room, bench, best_exam, bar_of(run.ledger.rounds()))
    now_best = student if evaluation.verdict and evaluation.verdict.keep else best
    probe = room.once(PROBE, lambda: sit_probe(now_best, drawn, room, bench))
    room.once(DIAGNOSIS, lambda: diagnose(probe, room, bench, evaluation, best_exam))
    judged = Judged(plan, samples, critiques, admissions, sought=sought, known=drawn.seen, pairs=len(lessons.pairs))
    probed = tally_probe(probe, bench.judge)
    return room.once(ROUND, lambda: close_round(number, judged, student, evaluation, probed, bench))


def take_lessons(
    plan: Plan,
    dataset: list[Example],
    samples: Sequence[Sample],
    critiques: Sequence[Critique],
    gauged: Sequence[Calibration],
    run: Run,
    room: Room,
) -> Lessons:
    """The mix, and what the plan's training takes of the round beside it: pairs or problems."""
    way, bench = plan.training, run.bench
    if isinstance(way, DPO):
        tried = all_tried(run, int(room.name), samples, critiques)
        pairs = room.once(PAIRS, lambda: pair_attempts(tried, way, bench.exams))
        return Lessons(dataset, pairs=pairs)
    if isinstance(way, GRPO):
        drills = room.once(DRILLS, lambda: choose_drills(way, samples, critiques, room, bench))
        judged = list(zip(samples, critiques, strict=True))
        return Lessons(dataset, problems=[drill.problem for drill in drills], calibrations=gauged, judged=judged)
    return Lessons(dataset)


def prepare_documents(plan: Plan, best: Checkpoint, room: Room, bench: Bench) -> Bench:
    """The bench with the documents as the plan wants them for this round."""
    if bench.extracts is None or not plan.documents.asks:
        return bench
    annotated = room.once(ANNOTATIONS, lambda: annotate_extracts(plan, room, bench))
    scorers = room.once(SCORERS, lambda: fit_scorers(plan, annotated, best, room, bench))
    prepared = room.once(PREPARED, lambda: prepare(plan, annotated, scorers, room, bench))
    return with_prepared(prepared, bench)


def finish(run: Run, reason: str) -> None:
    """Train the control, open the test, and close the run; the ledger says which limit ended it."""
    best_so_far(run)  # a damaged best is given up before the control is measured by it
    if run.objective.control:
        steadily(run, "the control", lambda: play_control(run))
    steadily(run, "the weak samplers", lambda: play_weak(run))
    steadily(run, "the test", lambda: play_test(run))
    run.ledger.set_facts(status="finished", ended=reason, budget=_budget(run), best=best_round(run).round)
    run.ledger.heartbeat(run.bench.meter.here, ended="finished")


def is_finished(run: Run) -> bool:
    """Whether there is nothing to do: the run ended, and neither budget nor goal has changed since."""
    return bool(run.ledger.fact("status") == "finished" and run.ledger.fact("budget") == _budget(run))


def _play_or_fail(run: Run, number: int) -> None:
    """Play a round; one that fails for good is closed as failed, and the next plan sees it."""
    try:
        steadily(run, f"round {number}", lambda: play_round(run, number))
    except StageError as error:
        problem = str(error)
        run.room(f"{number:03}").once(ROUND, lambda: Round(round=number, status="failed", reason=problem))
        last = run.ledger.rounds()[-FAILURES_IN_A_ROW:]
        if len(last) == FAILURES_IN_A_ROW and all(r.status == "failed" for r in last):
            raise StageError(f"{FAILURES_IN_A_ROW} rounds in a row failed; see {run.folder}/logs") from error


def _is_open(run: Run) -> bool:
    """Whether a launch that died left a round begun: it goes on to where the unbroken run would have stopped."""
    return run.room(f"{len(run.ledger.rounds()):03}").has(PLAN)


def _end(run: Run) -> str:
    """Why no further round begins: the goal, a collapse, or a limit of the budget; "" while there is none."""
    goal, dev = run.objective.goal, best_round(run).dev
    if goal is not None and dev is not None and dev.score >= goal:
        return "goal"
    if signs := _signs(run):
        return signs
    try:
        run.bench.meter.check()
    except BudgetSpent as limit:
        return str(limit)
    return ""


def _signs(run: Run) -> str:
    """The signs of collapse that end the run, if the objective lets them; if it does not, they are only told."""
    signs = signs_of_collapse(run.ledger.rounds())
    if signs and run.objective.budget.collapse == "warn":
        run.ledger.event_once("collapse", signs)
        run.screen.note(f"a sign of collapse: {signs}")
        return ""
    return f"collapse: {signs}" if signs else ""


def _budget(run: Run) -> dict[str, object]:
    return {"budget": run.objective.budget.model_dump(mode="json"), "goal": run.objective.goal}
