"""The arithmetic and the demonstrations of `benchmarks.compute_matched`; the benchmark itself takes an hour."""

from __future__ import annotations

import pytest

from benchmarks.compute_matched import worked_in_any_order
from benchmarks.compute_matched_table import over, told
from loop.grounding import check_grounding
from loop.verifiers import check_equations


def test_the_interval_over_seeds_is_students() -> None:
    assert over([0.5]) is None
    assert over([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6)


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([0.05, 0.06, 0.05], "above 0"),
        ([-0.05, -0.06, -0.05], "below 0"),
        ([0.05, 0.06, -0.02], "not told from no difference"),
        ([0.0, 0.0, 0.0], "not told from no difference"),
        ([0.3], "with one seed, of which no interval follows"),
    ],
)
def test_the_closing_words_follow_from_the_numbers(gaps: list[float], verdict: str) -> None:
    assert told(gaps).endswith(verdict)


def test_demonstrations_are_right_in_either_order_of_working() -> None:
    """Each passes the check that decides and the one that takes no part; a seed always gives the same rows."""
    rows = worked_in_any_order({3: 40, 6: 40}, seed=1)
    assert rows == worked_in_any_order({3: 40, 6: 40}, seed=1)
    reordered = 0
    for row in rows:
        prompt, response = str(row["prompt"]), str(row["response"])
        assert check_equations(response).verdict == "passed", response
        assert check_grounding(prompt, response).verdict == "passed", (prompt, response)
        chain = prompt.partition(": ")[2].removesuffix(" =")
        assert response.endswith(f"#### {eval(chain)}"), (prompt, response)
        reordered += not response.startswith(" ".join(chain.split()[:3]))
    assert 10 < reordered < len(rows) / 2, "both orders are shown"
