"""Briefing: what an orchestrator is told of the rounds so far, read from their records."""

from __future__ import annotations

from agents.briefs import PlanBrief, PreparedBrief, RoundBrief
from agents.replies import Diagnosis
from loop.earlier import Earlier
from loop.plan import round_brief, write_brief
from loop.prepared import tally_prepared
from loop.room import DIAGNOSIS, PLAN, PREPARED, SCORERS, Room
from loop.run import Run


def brief_of(run: Run, drawn: Earlier, planned: Room) -> PlanBrief:
    """What is told for a room's plan: without what planning has cost, so that after a crash it is the same."""
    history: list[RoundBrief] = []
    diagnosis: Diagnosis | None = None
    for closed in run.ledger.rounds():
        room = run.room(f"{closed.round:03}")
        plan = room.fetch(PLAN) if room.has(PLAN) else None
        history.append(round_brief(closed, plan, run.ledger.spent(room.name), _prepared(room)))
        diagnosis = room.fetch(DIAGNOSIS) if room.has(DIAGNOSIS) else diagnosis
    left = run.bench.meter.left((planned.name, PLAN.name))
    return write_brief(run.objective, run.bench, tuple(history), diagnosis, drawn.solved, left)


def _prepared(room: Room) -> PreparedBrief | None:
    if not room.has(PREPARED):
        return None
    rows, scorers = room.fetch(PREPARED), room.fetch(SCORERS)
    return tally_prepared(rows, scorers)
