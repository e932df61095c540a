"""Samples per sampler at equal cost, and which set-up of the paper a run is."""

from __future__ import annotations

import pytest

from agents.purse import FREE, Prices
from loop.compute_match import MOST, cost_unit, sample_costs, samples_each, set_up
from loop.errors import ObjectiveError
from loop.objective import Demonstration
from loop.seats import Seat

SHOWN = [Demonstration(prompt="p" * 400, response="r" * 400), Demonstration(prompt="p" * 400, response="r" * 1200)]
"""A hundred tokens read and two hundred written, on average."""


def seat(name: str, parameters: int = 0, prices: Prices = FREE) -> Seat:
    return Seat(name=name, engine="scripted", model=f"models/{name}", parameters=parameters, prices=prices)


def test_check_a_budget_of_12_units_at_costs_1_and_3_draws_12_and_4() -> None:
    assert samples_each(12, {"weak": 1, "strong": 3}) == {"weak": 12, "strong": 4}


@pytest.mark.parametrize(("dear", "each"), [(1, 3), (10, 30)])
def test_27b_and_9b_at_equal_flops_as_in_the_paper(dear: int, each: int) -> None:
    costs = sample_costs({"9b": seat("9b", 9 * 10**9), "27b": seat("27b", 27 * 10**9)}, SHOWN)
    assert costs["9b"] == 2 * 9e9 * 300
    assert samples_each(dear * costs["27b"], costs) == {"9b": each, "27b": dear}


def test_no_count_costs_more_than_the_budget_and_one_sample_more_always_would() -> None:
    costs = {"a": 0.3, "b": 0.7, "c": 1.1}
    for tenths in range(11, 200):
        budget = tenths / 10
        for name, count in samples_each(budget, costs).items():
            assert count * costs[name] <= budget * (1 + 1e-9) < (count + 1) * costs[name] * (1 + 2e-9)


def test_the_price_matched_variant_counts_what_is_read_and_what_is_written() -> None:
    seats = {"pro": seat("pro", prices=Prices(2.0, 8.0)), "flash": seat("flash", 1, Prices(0.1, 0.4))}
    assert cost_unit(seats.values()) == "usd"
    costs = sample_costs(seats, SHOWN)
    assert costs["pro"] == pytest.approx((100 * 2 + 200 * 8) / 1e6)
    assert samples_each(costs["pro"], costs) == {"pro": 1, "flash": 20}


def test_costs_without_a_common_unit_are_refused_by_name() -> None:
    seats = {"local": seat("local", 10**6), "paid": seat("paid", prices=Prices(1, 1))}
    assert cost_unit(seats.values()) is None
    with pytest.raises(ObjectiveError, match=r"what paid costs cannot be compared; give prices to all"):
        sample_costs(seats, SHOWN)


def test_a_cap_holds_and_a_budget_for_no_sample_is_an_error() -> None:
    assert samples_each(1e9, {"tiny": 1.0, "huge": 1e9}) == {"tiny": MOST, "huge": 1}
    for costs in ({"strong": 3.0}, {"strong": 0.0}):
        with pytest.raises(ValueError, match="give strong no number of samples"):
            samples_each(2, costs)


def test_the_three_set_ups() -> None:
    student = seat("student", 7)
    assert set_up(student, [student]) == "self-improvement"
    assert set_up(seat("base", 7), [seat("base", 7)]) == "self-improvement"
    assert set_up(student, [seat("small", 3), seat("smaller", 1)]) == "weak-to-strong improvement"
    assert set_up(student, [seat("large", 9), seat("peer", 7), seat("unknown")]) == "distillation"
    assert set_up(student, [student, seat("large", 9)]) == "mixed"
