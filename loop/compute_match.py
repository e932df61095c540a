"""Compute-matched sampling: how many samples each sampler draws for the same cost, and which set-up a run is.

Smaller, Weaker, Yet Better (arXiv 2408.16737): a claim about a cheap sampler against a dear one holds at equal
sampling cost, not at equal sample count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from loop.errors import ObjectiveError
from loop.objective import Demonstration
from loop.rounds import SetUp
from loop.seats import Seat

MOST = 256
"""Samples of one problem by one sampler. Samplers whose costs lie further apart are not matched: their counts, which
stand in the record, say so."""
CHARACTERS = 4
"""Of a token, roughly; it cancels out between samplers."""


def cost_unit(seats: Iterable[Seat]) -> Literal["usd", "flops"] | None:
    """In what the samplers' costs can be compared: dollars when all have prices, else FLOPs when all sizes are known.

    None when neither holds: then they cannot be matched.
    """
    seats = list(seats)
    if all(seat.prices.output > 0 for seat in seats):
        return "usd"
    return "flops" if all(seat.parameters > 0 for seat in seats) else None


def sample_costs(seats: Mapping[str, Seat], demonstrations: Sequence[Demonstration]) -> dict[str, float]:
    """What one sample costs, by sampler, in the unit of `cost_unit`: 2 · parameters FLOPs a token, or dollars.

    A sample is taken to be as long as a demonstration, whoever writes it, as in the paper; so with FLOPs the ratio of
    two costs is the ratio of the sizes.

    Raises: ObjectiveError when the costs have no common unit.
    """
    read = fmean(len(row.prompt) for row in demonstrations) / CHARACTERS if demonstrations else 1.0
    written = fmean(len(row.response) for row in demonstrations) / CHARACTERS if demonstrations else 1.0
    unit = cost_unit(seats.values())
    if unit is None:
        odd = next(name for name, seat in seats.items() if not seat.parameters)
        raise ObjectiveError(
            f"cast: what {odd} costs cannot be compared; give prices to all samplers, or leave it out"
        )
    if unit == "usd":
        return {name: seat.prices.cost(read, written) for name, seat in seats.items()}
    return {name: 2.0 * seat.parameters * (read + written) for name, seat in seats.items()}


def samples_each(budget: float, costs: Mapping[str, float], most: int = MOST) -> dict[str, int]:
    """How many samples of a problem each sampler draws for `budget`, in the unit of `costs`; rounded down.

    With a budget of S samples of the dear one this is S_weak = (P_strong / P_weak) · S_strong.

    Raises: ValueError when a cost is not positive or the budget buys not one sample of somebody.
    """
    for name, cost in costs.items():
        if not 0 < cost <= budget * (1 + 1e-9):
            raise ValueError(f"a budget of {budget:g} and a cost of {cost:g} give {name} no number of samples")
    return {name: min(most, int(budget / cost + 1e-9)) for name, cost in costs.items()}


def set_up(student: Seat, samplers: Iterable[Seat]) -> SetUp:
    """Which of the paper's three set-ups a run is; "mixed" when its samplers differ in this.

    Self-improvement: the student learns from its own samples. Weak-to-strong improvement: from those of a smaller
    model. Distillation: from those of another model, as large or larger, or whose size is not known.
    """
    found = {_set_up_of(student, sampler) for sampler in samplers}
    return found.pop() if len(found) == 1 else "mixed"


def _set_up_of(student: Seat, sampler: Seat) -> SetUp:
    if sampler.name in ("student", student.name) or sampler.model == student.model:
        return "self-improvement"
    is_weaker = 0 < sampler.parameters < student.parameters
    return "weak-to-strong improvement" if is_weaker else "distillation"
