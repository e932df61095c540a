"""Choices: what a plan may choose, and the check that it chooses nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from agents.briefs import CellBrief, PlanBrief
from agents.replies import Proposal, Strategy
from agents.selfinstruct.fairness import check_edit
from agents.strategies import Arbitration, Practice
from agents.training import GRPO, SFT, Distillation
from agents.uniform import Key, name_of
from agents.writers.settings import AgenticSelfInstruct

MORE_SAMPLES = 2
"""How many times the samples of an ordinary round a plan may draw."""
VOTES = 5
"""Samples by which a written problem is labelled: what it counts for in a plan."""
MORE_EPOCHS = 4.0
"""How many times the epochs of an ordinary round it may train for."""


def most_samples(brief: PlanBrief) -> int:
    """The most samples that a plan may draw."""
    return MORE_SAMPLES * brief.samples_per_round


def most_epochs(brief: PlanBrief) -> float:
    """The most passes over the mix that a plan may train for."""
    return max(1.0, MORE_EPOCHS * brief.epochs)


def tokens_a_sample(brief: PlanBrief) -> dict[Key, float]:
    """What a sample of each cell cost so far, prompt and completion; only cells where that is known."""
    tokens: Counter[Key] = Counter()
    tried: Counter[Key] = Counter()
    for tally in (tally for past in brief.history for tally in past.samples if tally.tokens):
        tokens[tally.skill, tally.level] += tally.tokens
        tried[tally.skill, tally.level] += tally.tried
    return {key: tokens[key] / tried[key] for key in tokens if tried[key]}


def check_plan(plan: Proposal, brief: PlanBrief) -> None:
    """Whether the plan chooses only what the brief offers.

    Raises: ValueError, one line that names the first mistake and the mend.
    """
    cells: dict[Key, CellBrief] = {(cell.skill, cell.level): cell for cell in brief.cells}
    if not plan.strategies and any(cell.left != 0 for cell in brief.cells):
        raise ValueError("strategies: none is there; write one with an allotment for each cell to practise")
    for place, strategy in enumerate(plan.strategies):
        _check_strategy(f"strategies.{place}", strategy, cells, brief)
    recipes = [strategy.model_dump_json(exclude={"allotments", "count"}) for strategy in plan.strategies]
    _once("strategies", recipes, "put both into one")
    if plan.strategies:
        _check_amounts(plan, cells, brief)
    _once("mixture.rehearse", [_named((c.skill, c.level)) for c in plan.mixture.rehearse], "write each cell once")
    for share in plan.mixture.rehearse:
        _known("mixture.rehearse", (share.skill, share.level), cells)
    _check_training(plan, brief)
    _check_documents(plan, brief)
    modes = brief.diagnosis.names if brief.diagnosis else frozenset()
    _once("answers", plan.answers, "write each failure mode once")
    for name in plan.answers:
        if name not in modes:
            raise ValueError(
                f"answers: {_cut(name)} is no failure mode or cluster of the diagnosis; copy a name from it, or none"
            )


def _check_strategy(where: str, strategy: Strategy, cells: dict[Key, CellBrief], brief: PlanBrief) -> None:
    names = [offered.name for offered in brief.catalogue]
    if strategy.kind not in names:
        raise ValueError(f"{where}.kind: {strategy.kind} is not allowed here; choose from {', '.join(names)}")
    if not isinstance(strategy, Practice):
        _offered(f"{where}.writer", strategy.players, brief.writers)
        if isinstance(strategy, AgenticSelfInstruct):
            _check_solving(where, strategy, brief)
        return
    known = brief.teachers if isinstance(strategy, Arbitration) else brief.samplers
    _offered(f"{where}.{strategy.named_in}", strategy.players, known)
    keys: list[Key] = [(allotment.skill, allotment.level) for allotment in strategy.allotments]
    for key in keys:
        _known(f"{where}.allotments", key, cells)
    _once(f"{where}.allotments", [_named(key) for key in keys], "write each cell once")


def _check_solving(where: str, strategy: AgenticSelfInstruct, brief: PlanBrief) -> None:
    solvers = brief.solvers
    if solvers is None:
        raise ValueError(f"{where}: nobody plays weak, strong and judge; choose another strategy")
    if solvers.judge == "program" and strategy.marked_by == "judge":
        raise ValueError(f"{where}.marked_by: no model judges here; write program")
    by_program = "program" in (solvers.judge, strategy.marked_by)
    if strategy.strong_samples > 1 and not by_program:
        raise ValueError(f"{where}.strong_samples: only answers that a program marks can be counted; write 1")
    if solvers.weak == solvers.strong and not (strategy.strong_sees_source or strategy.strong_samples > 1):
        mend = "let strong_sees_source be true" + (", or give strong_samples" if by_program else "")
        raise ValueError(f"{where}: {_cut(solvers.weak)} is weak and strong solver, and so no better; {mend}")
    try:
        for line in strategy.guidance:
            check_edit(line, (solvers.weak, solvers.strong))
    except ValueError as error:
        raise ValueError(f"{where}.instructions: {error}") from error


def _offered(where: str, names: Sequence[str], known: Sequence[str]) -> None:
    _once(where, names, "write each once")
    for name in names:
        if name not in known:
            mend = f"choose from {', '.join(known)}" if known else "none is offered"
            raise ValueError(f"{where}: there is no {_cut(name)}; {mend}")


def _check_amounts(plan: Proposal, cells: dict[Key, CellBrief], brief: PlanBrief) -> None:
    problems: Counter[Key] = Counter()
    samples: Counter[Key] = Counter()
    written = 0
    for strategy in plan.strategies:
        if not isinstance(strategy, Practice):
            each = strategy.most_attempts if isinstance(strategy, AgenticSelfInstruct) else VOTES
            written += each * strategy.count
            continue
        for allotment in strategy.allotments:
            key = (allotment.skill, allotment.level)
            problems[key] += allotment.problems
            samples[key] += allotment.problems * allotment.samples * strategy.weight
    if not samples.total() and not written:
        raise ValueError("strategies: no problem is sampled; give at least one cell more than 0 problems")
    for key, count in problems.items():
        left = cells[key].left
        if left is not None and count > left:
            raise ValueError(f"strategies: {_named(key)} has {left} problems left; ask for no more than these")
    if (total := samples.total() + written) > most_samples(brief):
        raise ValueError(
            f"strategies: {total} samples are too many; a plan may draw {most_samples(brief)},"
            f" an ordinary round draws {brief.samples_per_round}"
        )
    tokens = tokens_a_sample(brief)
    cost = sum(count * tokens.get(key, 0.0) for key, count in samples.items())
    if brief.budget.tokens is not None and cost > brief.budget.tokens:
        raise ValueError(
            f"strategies: this takes about {cost:.0f} tokens to sample, {brief.budget.tokens} are left; ask for less"
        )


def _check_training(plan: Proposal, brief: PlanBrief) -> None:
    training = plan.training
    if training.method not in brief.methods:
        raise ValueError(f"training.method: {training.method} is not allowed; choose from {', '.join(brief.methods)}")
    if brief.start in ("base", "best") and training.start != brief.start:
        raise ValueError(f"training.start: the objective fixes it; write {brief.start}")
    plans = [plan, *(past.plan for past in brief.history if past.plan)]
    if training.compares and not any(map(_draws_several, plans)):
        raise ValueError(
            f"training.method: {training.method} compares attempts at a problem; give an allotment 2 samples or more"
        )
    if isinstance(training, Distillation) and training.teacher not in ("", *brief.distil_from):
        raise ValueError(
            f"training.teacher: {_cut(training.teacher)} is no model of this machine with the student's tokenizer;"
            f" choose from {', '.join(brief.distil_from) or 'none'}, or have it teach by its samples (sft)"
        )
    if training.epochs > most_epochs(brief):
        raise ValueError(f"training.epochs: {training.epochs:g} are too many; write at most {most_epochs(brief):g}")
    if isinstance(training, SFT) and training.hold_out and training.epochs < 2:
        raise ValueError("training.hold_out: looks come after each epoch; write 2 epochs or more, or leave it out")
    if isinstance(training, GRPO):
        _check_reinforcement(training, brief)


def _check_reinforcement(training: GRPO, brief: PlanBrief) -> None:
    answers = math.ceil(training.epochs * training.problems) * training.group
    if answers > most_samples(brief):
        raise ValueError(
            f"training: {answers} answers (problems x epochs x group) are too many; a plan may draw"
            f" {most_samples(brief)} in training"
        )
    known = tokens_a_sample(brief).values()
    cost = answers * (1 + training.iterations) * sum(known) / max(1, len(known))
    if brief.budget.tokens is not None and cost > brief.budget.tokens:
        raise ValueError(
            f"training: this takes about {cost:.0f} tokens to sample and train on, {brief.budget.tokens} are left;"
            " write fewer problems"
        )


def _draws_several(plan: Proposal) -> bool:
    """Whether a problem has more than one attempt."""
    practised = [strategy for strategy in plan.strategies if isinstance(strategy, Practice)]
    return any(a.problems and a.samples * s.weight > 1 for s in practised for a in s.allotments)


def _check_documents(plan: Proposal, brief: PlanBrief) -> None:
    if not plan.documents.asks:
        return
    if brief.documents is None:
        raise ValueError("documents: there are none that could be prepared here; leave the field out")
    if plan.documents.quality == "linear" and not brief.documents.demonstrations:
        raise ValueError(
            "documents.quality: linear compares with demonstrations, and there are none; write annotator"
        )
    _offered("documents.by", (plan.documents.by,) if plan.documents.by else (), brief.writers)


def _known(where: str, key: Key, cells: dict[Key, CellBrief]) -> None:
    if key not in cells:
        raise ValueError(f"{where}: there is no cell {_named(key)}; copy skill and level from the list of cells")


def _once(where: str, names: Sequence[str], mend: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{where}: {_cut(name)} stands {count} times; {mend}")


def _named(key: Key) -> str:
    return _cut(name_of(key))


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
