"""Plan: what the orchestrator is told, and the plan that it replies with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from agents.briefs import (
    BudgetLeft,
    CellBrief,
    DocumentsBrief,
    PlanBrief,
    PreparedBrief,
    RoundBrief,
    SolversBrief,
    StrategyBrief,
    Tally,
)
from agents.catalogue import CATALOGUE
from agents.engines.vllm_settings import apart_from_vllm
from agents.orchestrator import ModelOrchestrator
from agents.replies import Diagnosis, Plan
from agents.training import METHODS
from agents.writers.recipes import RECIPES
from loop.bench import Bench
from loop.compute_match import cost_unit
from loop.looking import RunLibrary
from loop.objective import Objective
from loop.pieces import kinds_at_hand
from loop.players import talking
from loop.records import Cell, Spent
from loop.room import PLAN, Room
from loop.rounds import Round
from loop.seats import Seat
from loop.solving import missing_parts
from loop.tasks import Tasks
from loop.vocabulary import is_same_tokenizer
from loop.weights import model_folder

GAUGED = 4
"""By how much fewer samples a round draws where all training is reinforcement: they only tell which problems are
solved sometimes, and no row is made of them."""


def make_plan(brief: PlanBrief, room: Room, bench: Bench) -> Plan:
    """Ask the orchestrator for a plan. It is data all through: it can only choose among what the loop offers.

    Where a model had to hand over to the rules, the ledger says so.
    """
    if bench.planner is None:
        return bench.rules.plan(brief)
    with talking(bench.planner, "orchestrator", room, PLAN, bench) as talker:
        library = RunLibrary(bench.run, room.ledger, room.screen, bench.judge, bench.exams, bench.demonstrations)
        plan = ModelOrchestrator(talker, library, bench.seed).plan(brief)
    if plan.handover:
        room.ledger.event("handover", f"round {room.name}: the rules planned, since {plan.handover}")
        room.screen.note(f"the rules plan this round, since {plan.handover}")
    return plan


def write_brief(
    objective: Objective, bench: Bench, history: tuple[RoundBrief, ...], diagnosis: Diagnosis | None,
    solved: Collection[str], budget: BudgetLeft,
) -> PlanBrief:  # fmt: skip
    """All that an orchestrator may know. Of dev only the scores by cell; of the test nothing."""
    shares = dev_shares(bench.tasks)
    counted = [Cell(d.skill or "", d.level) for d in bench.demonstrations]
    cells = tuple(
        CellBrief(
            skill=cell.skill,
            level=cell.level,
            share=shares.get(cell, 0.0),
            left=vein.left(solved),
            demonstrations=counted.count(cell),
        )
        for cell, vein in bench.tasks.practice.items()
    )
    return PlanBrief(
        objective=objective.text,
        cells=cells,
        history=history,
        diagnosis=diagnosis,
        budget=budget,
        start=objective.training.start,
        epochs=bench.student.settings.epochs,
        samples_per_round=bench.student.settings.samples // (GAUGED if objective.training.method == "grpo" else 1),
        samplers=tuple(bench.samplers),
        teachers=tuple(bench.teachers),
        writers=tuple(seat.name for seat in bench.writers),
        documents=documents_brief(bench),
        solvers=solvers_of(bench),
        catalogue=offered(objective, bench),
        methods=methods_of(objective, bench.student.engine),
        distil_from=distil_from(bench),
    )


def documents_brief(bench: Bench) -> DocumentsBrief | None:
    """What of documents can be prepared, where there is who could."""
    if bench.extracts is None or not bench.writers:
        return None
    return DocumentsBrief(
        extracts=len(bench.extracts.all),
        characters=sum(len(extract.text) for extract in bench.extracts.all),
        embeddings=bench.embeddings or "the student's own hidden states",
        demonstrations=len(bench.demonstrations),
    )


def offered(objective: Objective, bench: Bench) -> tuple[StrategyBrief, ...]:
    """The strategies that the objective allows and the cast can play."""
    allowed = set(objective.strategies.allow or CATALOGUE) - set(objective.strategies.deny)
    student = Seat(name="student", engine="", model="", parameters=1)
    if len(bench.samplers) < 2 or not cost_unit(seat or student for seat in bench.samplers.values()):
        allowed.discard("compute_matched")
    if len(bench.teachers) < 2:
        allowed.discard("arbitration")
    if not all(seat.opening for seat in bench.writers):
        allowed.discard("magpie")
    at_hand = {*kinds_at_hand(bench), ""} if bench.writers else set()
    allowed -= {kind for kind, recipe in RECIPES.items() if not recipe.needs & at_hand}
    if not solvers_of(bench) or not (bench.extracts and bench.extracts.all):
        allowed.discard("agentic_self_instruct")
    return tuple(brief for name, brief in CATALOGUE.items() if name in allowed)


def methods_of(objective: Objective, engine: str) -> tuple[str, ...]:
    """The training methods that the objective allows and the student's engine can play."""
    fixed = objective.training.method
    left_out = {"grpo"} if apart_from_vllm(engine) else set()
    return tuple(name for name in METHODS if name not in left_out) if fixed == "auto" else (fixed,)


def distil_from(bench: Bench) -> tuple[str, ...]:
    """The teachers that run on this machine with the student's tokenizer: only their distribution can be learnt."""
    student = bench.run / "rounds" / "000" / "checkpoint"
    at_hand = [seat for seat in bench.teachers.values() if seat and seat.engine in ("transformers", "vllm")]
    folders = {seat.name: model_folder(seat.model, Path()) for seat in at_hand}
    return tuple(name for name, folder in folders.items() if folder and is_same_tokenizer(folder, student))


def solvers_of(bench: Bench) -> SolversBrief | None:
    """Who attempts and marks questions; None where the cast cannot play them."""
    if missing_parts(bench):
        return None
    seats = bench.parts
    weak, strong = (seat.name if (seat := seats[part]) else "student" for part in ("weak", "strong"))
    return SolversBrief(weak=weak, strong=strong, judge=seats["judge"].name if seats["judge"] else "program")


def dev_shares(tasks: Tasks) -> dict[Cell, float]:
    """The share of dev that each cell has."""
    cells = [problem.cell for problem in tasks.dev]
    return {cell: cells.count(cell) / len(cells) for cell in dict.fromkeys(cells)}


def round_brief(closed: Round, plan: Plan | None, spent: Spent, prepared: PreparedBrief | None = None) -> RoundBrief:
    """A closed round as the orchestrator may see it."""
    return RoundBrief(
        round=closed.round,
        status=closed.status,
        reason=closed.reason,
        plan=plan,
        dev=closed.dev.score if closed.dev else None,
        dev_cells=tuple(Tally(skill=c.skill, level=c.level, tried=c.n, passed=c.correct) for c in closed.dev_cells),
        samples=closed.samples,
        probe=closed.probe,
        prepared=prepared,
        questions=closed.questions,
        reinforced=told.brief if (told := closed.checkpoint and closed.checkpoint.reinforced) else {},
        examples_kept=closed.examples,
        tokens_sampled=spent.tokens_sampled,
        tokens_trained=spent.tokens_trained,
        seconds=spent.seconds,
        usd=spent.usd,
    )
