"""Diagnose: wrong attempts on fresh practice problems become failure modes, which the next plan must answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.briefs import Evidence, Tally
from agents.engines.pace import Patience
from agents.naming import Bundle, name_by_model, name_by_words
from agents.replies import Cluster, Diagnosis
from agents.talk import Unusable
from agents.uniform import quote
from loop.bench import Bench
from loop.budget import BudgetSpent
from loop.clusters import LEAST, MOST, Group, GroupJob
from loop.earlier import Earlier
from loop.errors import MissingError, StageError
from loop.judging import Judge
from loop.players import talking
from loop.records import Checkpoint, Evaluation, Problem, Sample, digest
from loop.regressions import lost_on_dev, lost_on_probe
from loop.room import DIAGNOSIS, PROBE, Room
from loop.seats import Draw
from loop.slips import Slip, slip_of
from loop.verifiers import extract_answer

PROBLEMS_PER_CELL = 20
"""Enough to tell a solved cell from a learning one; the probe may be quoted to the planner."""

NAMING = Patience(longest_wait=10.0, outage=60.0)
"""With an endpoint that is asked for names: a cluster has its words without it."""


def sit_probe(student: Checkpoint, earlier: Earlier, room: Room, bench: Bench) -> list[Sample]:
    """Greedy answers to fresh practice problems of every cell."""
    problems: dict[str, Problem] = {}
    for cell in bench.tasks.practice:
        seed = bench.seed_for(room.name, "probe", *cell)
        found = bench.tasks.draw(cell, PROBLEMS_PER_CELL, seed, earlier.seen)
        found = found or bench.tasks.draw(cell, PROBLEMS_PER_CELL, seed, ())
        problems |= {digest("probe", room.name, problem.id): problem for problem in found}
    return bench.draw(room, PROBE, [Draw(bench.student_of(student), problems)])


def diagnose(
    samples: Sequence[Sample], room: Room, bench: Bench, now: Evaluation | None = None, best: Evaluation | None = None
) -> Diagnosis:
    """Failure modes by cell, clusters across cells, and what was right before. A sample that recites an exam is left
    out: examples are quoted.

    Args: now, best: how the round's student and the best before it did on dev; None for round 0.
    """
    shown = [sample for sample in samples if not bench.exams.match(sample.problem.prompt, sample.response)]
    slips = [_slip(sample, bench.judge) for sample in shown]
    attempts = [attempt for attempt, _ in slips]
    found = bench.rules.diagnose(attempts)
    wrong = [(attempt, slip) for attempt, slip in slips if slip]
    groups = _groups([slip for _, slip in wrong], [f"{a.prompt}\n{a.response}" for a, _ in wrong], room, bench)
    bundles = [Bundle(tuple(wrong[place][0] for place in group.members), group.words) for group in groups]
    quoted = [(s, a.correct, quote(a)) for s, a in zip(shown, attempts, strict=True)]
    lost = lost_on_dev(now, best, bench.tasks.dev) if now and best else ()
    return found.model_copy(
        update={
            "clusters": _named(name_by_words(bundles, found.wrong), found, room, bench),
            "regressions": lost + lost_on_probe(quoted, room, bench.judge),
        }
    )


def tally_probe(samples: Sequence[Sample], judge: Judge) -> tuple[Tally, ...]:
    """Tries and right answers of the probe by cell."""
    attempts = [judge.attempt(sample) for sample in samples]
    tried = Counter(a.problem.cell for a in attempts)
    right = Counter(a.problem.cell for a in attempts if a.correct)
    return tuple(
        Tally(skill=cell.skill, level=cell.level, tried=tried[cell], passed=right[cell])
        for cell in sorted(tried, key=lambda cell: cell.order)
    )


def _slip(sample: Sample, judge: Judge) -> tuple[Evidence, Slip | None]:
    """An attempt as it is told, and how it slipped where it is wrong."""
    attempt, problem = judge.attempt(sample), sample.problem
    told = Evidence(
        id=sample.id, skill=problem.skill, level=problem.level, prompt=problem.prompt, answer=problem.answer,
        response=sample.response, correct=attempt.correct, finish=sample.finish, kind=attempt.kind,
        detail=attempt.detail,
    )  # fmt: skip
    if attempt.correct:
        return told, None
    slip = slip_of(told, extract_answer(sample.response, judge.places[problem.source]))
    return told.model_copy(update={"detail": slip.step}), slip


def _groups(slips: Sequence[Slip], texts: Sequence[str], room: Room, bench: Bench) -> list[Group]:
    """The clusters, largest first; none of fewer than `LEAST` attempts, and none where the child fails."""
    if len(slips) < LEAST:
        return []
    step = -(-len(slips) // MOST)
    job, report = GroupJob(tuple(slips[::step]), tuple(texts[::step])), room.screen.progress
    try:
        if bench.student.engine == "scripted":
            groups = bench.crew.run_here("loop.scripted:group", job, report).result
        else:
            groups = bench.crew.run("loop.clusters:group", job, report, f"{room.name}-clusters").result
    except StageError as error:
        room.ledger.event_once("clusters", f"round {room.name}: wrong attempts were not grouped, since {error}")
        return []
    return [Group(tuple(place * step for place in group.members), group.words) for group in groups]


def _named(clusters: tuple[Cluster, ...], found: Diagnosis, room: Room, bench: Bench) -> tuple[Cluster, ...]:
    """The clusters under the names that the planning model gives them; where it cannot, they keep their words."""
    if bench.planner is None or not clusters:
        return clusters
    try:
        with talking(bench.planner, "orchestrator", room, DIAGNOSIS, bench, NAMING) as talker:
            taken = [mode.name for mode in found.modes]
            return name_by_model(talker, clusters, taken, bench.seed_for(room.name, "clusters"))
    except (BudgetSpent, MissingError, StageError, Unusable) as error:
        room.ledger.event_once("clusters", f"round {room.name}: clusters are named by their words, since {error}")
        return clusters
