"""Regressions: problems that were right before and are wrong now, by cell. Nothing is asked again for them.

On dev both students sat the same problems, so each round tells. Practice problems are fresh where there are enough;
in a finite pool a probe meets some again. Dev is counted and never quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from agents.replies import Regression
from agents.uniform import EXAMPLES
from loop.judging import Judge
from loop.records import Cell, Evaluation, Problem, Sample
from loop.room import PROBE, Room


def lost_on_dev(now: Evaluation, best: Evaluation, dev: Sequence[Problem]) -> tuple[Regression, ...]:
    """What the round's student lost against the best so far, kept or not."""
    solved, before = frozenset(now.solved), frozenset(best.solved)
    return _by_cell("dev", [(problem.cell, problem.id in before, problem.id in solved, "") for problem in dev])


def lost_on_probe(now: Sequence[tuple[Sample, bool, str]], room: Room, judge: Judge) -> tuple[Regression, ...]:
    """What the best student lost since the last probe in which a problem stood.

    Args: now: each sample with whether it is right, and its quotation.
    """
    asked = {sample.problem.id for sample, _, _ in now}
    before: dict[str, bool] = {}
    for closed in room.ledger.rounds():
        earlier = Room(room.run, f"{closed.round:03}", room.ledger, room.screen)
        if closed.round < int(room.name) and earlier.has(PROBE):
            met = [sample for sample in earlier.fetch(PROBE) if sample.problem.id in asked]
            before |= {sample.problem.id: judge.attempt(sample).correct for sample in met}
    rows = [(s.problem.cell, before[s.problem.id], right, said) for s, right, said in now if s.problem.id in before]
    return _by_cell("probe", rows)


def _by_cell(exam: Literal["dev", "probe"], rows: Iterable[tuple[Cell, bool, bool, str]]) -> tuple[Regression, ...]:
    """Regressions of (cell, right before, right now, quotation), the largest first; of cells that lost something."""
    cells: dict[Cell, list[tuple[bool, bool, str]]] = {}
    for cell, before, now, said in rows:
        cells.setdefault(cell, []).append((before, now, said))
    found = []
    for cell in sorted(cells, key=lambda cell: cell.order):
        lost = [said for before, now, said in cells[cell] if before and not now]
        one = Regression(
            exam=exam, skill=cell.skill, level=cell.level, count=len(lost),
            before=sum(before for before, _, _ in cells[cell]),
            gained=sum(now and not before for before, now, _ in cells[cell]),
            examples=tuple(filter(None, lost[:EXAMPLES])),
        )  # fmt: skip
        found += [one] if lost else []
    return tuple(sorted(found, key=lambda one: -one.count))
