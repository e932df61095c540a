"""Bands of acceptance: the published versions at their edges, what weak scores alone refuse, and calibration."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.selfinstruct.bands import HIGHEST_BAR, LOWEST_BAR, PRESETS, Bands, Heading, calibrate

RUBRIC_PRESETS = ("blog_early_cs", "blog_early_meta", "blog_later", "paper_cs")
TOO_EASY, FAILED_ON_STRONG, NO_GRADIENT = Heading.TOO_EASY, Heading.FAILED_ON_STRONG, Heading.NO_GRADIENT


def heading(bands: Bands | str, weak, strong=(0.8, 0.7, 0.9)) -> Heading | None:
    refusal = (PRESETS[bands] if isinstance(bands, str) else bands).refuse(weak, strong)
    return refusal.heading if refusal else None


@pytest.mark.parametrize("preset", RUBRIC_PRESETS)
def test_check_a_bands_accept_and_weak_scores_alone_are_too_easy(preset):
    assert heading(preset, (0.4, 0.5, 0.45)) is None
    refusal = PRESETS[preset].refuse_weak((0.66, 0.66, 0.66))
    assert refusal and refusal.heading is TOO_EASY
    assert PRESETS[preset].refuse_weak((0.4, 0.5, 0.45)) is None


@pytest.mark.parametrize(
    ("preset", "weak", "strong", "expected"),
    [
        ("blog_early_cs", (0.5, 0.5, 0.5), (0.9, 0.9, 0.9), TOO_EASY),
        ("blog_early_cs", (0.5, 0.5, 0.49), (0.65, 0.65, 0.65), None),
        ("blog_early_cs", (0.3, 0.3, 0.3), (0.64, 0.65, 0.65), FAILED_ON_STRONG),
        ("blog_early_meta", (0.5, 0.5, 0.5), (0.75, 0.75, 0.75), None),
        ("blog_early_meta", (0.5, 0.5, 0.5), (0.74, 0.75, 0.75), FAILED_ON_STRONG),
        ("blog_early_meta", (0.5, 0.5, 0.51), (0.9, 0.9, 0.9), TOO_EASY),
        ("blog_later", (0.65, 0.6, 0.7), (0.85, 0.85, 0.85), None),
        ("blog_later", (0.45, 0.45, 0.45), (0.65, 0.65, 0.65), None),
        ("blog_later", (0.2, 0.2, 0.76), (0.9, 0.9, 0.9), TOO_EASY),
        ("blog_later", (0.5, 0.5, 0.0), (0.9, 0.9, 0.9), NO_GRADIENT),
        ("blog_later", (0.5, 0.5, 0.5), (0.95, 0.95, 0.95), TOO_EASY),
        ("blog_later", (0.2, 0.2, 0.2), (0.6, 0.6, 0.59), FAILED_ON_STRONG),
        ("paper_cs", (0.45, 0.45, 0.45), (0.65, 0.65, 0.65), None),
        ("paper_cs", (0.46, 0.45, 0.45), (0.65, 0.65, 0.65), FAILED_ON_STRONG),
        ("verifiable", (0, 0, 1), (1, 1, 0), None),
        ("verifiable", (0, 1, 1), (1, 1, 1), TOO_EASY),
        ("verifiable", (0, 1), (1, 1), TOO_EASY),
        ("verifiable", (0, 0), (1, 0), FAILED_ON_STRONG),
        ("verifiable", (0, 0), (1, 1), None),
        ("verifiable", (0, 0, 0.9), (1, 0.9, 1), None),
        ("paper_science", (0, 1, 0, 0), (1, 1, 0, 1), None),
        ("paper_science", (0, 1, 1, 0), (1, 1, 1, 1), TOO_EASY),
        ("paper_science", (0, 0, 0, 0), (1, 1, 0, 0), FAILED_ON_STRONG),
    ],
)
def test_published_versions_at_their_edges(preset, weak, strong, expected):
    assert heading(preset, weak, strong) is expected


def test_zeros_guarded_has_two_readings():
    none = PRESETS["blog_later"]
    not_all = none.model_copy(update={"zeros": "not all"})
    strong = (0.8, 0.8, 0.8)
    assert heading(none, (0.5, 0, 0.5), strong) is NO_GRADIENT
    assert heading(not_all, (0.5, 0, 0.5), strong) is None
    assert heading(not_all, (0, 0, 0), strong) is heading(none, (0, 0, 0), strong) is NO_GRADIENT


# Learnability.


@given(st.floats(0, 1), st.floats(0, 1))
def test_check_e_five_equal_weak_scores_never_pass_the_learnability_test(score, strong):
    least = Bands(name="any spread at all", weak_samples=5, spread_least=1e-12)
    for bands in (PRESETS["paper_legal"], least):
        refusal = bands.refuse_weak((score,) * 5)
        assert refusal and refusal.heading is (TOO_EASY if score >= 1 - 1e-9 else NO_GRADIENT)
        assert bands.refuse((score,) * 5, (strong,) * 3)


def test_clustered_weak_scores_have_no_gradient_and_spread_ones_have():
    assert heading("paper_legal", (0.5, 0.5, 0.55, 0.5, 0.6)) is NO_GRADIENT
    assert heading("paper_legal", (0.2, 0.5, 0.3, 0.6, 0.4)) is None
    assert heading("paper_legal", (0.2, 0.5, 0.3, 0.6, 0.4), (0.3, 0.3, 0.3)) is FAILED_ON_STRONG
    assert not Bands(name="weak alone", spread_least=0.1).asks_strong


# Odd scores and settings.


@pytest.mark.parametrize("odd", [(), (math.nan, 0.1, 0.2), (math.inf,), (-0.01, 0.2), (0.2, 1.01)])
def test_odd_scores_are_refused_whichever_solver_they_are_of(odd):
    for bands in PRESETS.values():
        with pytest.raises(ValueError, match="score"):
            bands.refuse_weak(odd)
        weak = (0.2, 0.5, 0.3, 0.6, 0.4) if bands.spread_least else (0.2, 0.1, 0.1)
        with pytest.raises(ValueError, match="score"):
            bands.refuse(weak, odd)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "asks nothing of the weak solver"),
        ({"strong_mean_least": 0.6}, "asks nothing of the weak solver"),
        ({"weak_mean_below": 1.5}, "less than or equal to 1"),
        ({"spread_least": 0}, "greater than 0"),
        ({"majority": True, "most_errors": 2}, "no majority of the attempts"),
        ({"weak_right_most": 1, "strong_right_least": 4}, "strong_right_least"),
        ({"spread_least": 0.1, "weak_samples": 1, "most_errors": 0}, "weak_samples"),
        ({"majority": True, "weak_mean": 0.5}, "Extra inputs"),
    ],
)
def test_bands_that_cannot_be_meant_are_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        Bands(name="odd", **settings)


# Calibration.


def pilot_of(means) -> list[tuple[float, ...]]:
    return [(mean, mean) for mean in means]


SHARES = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=10, max_size=60)


@given(SHARES, st.sampled_from(RUBRIC_PRESETS))
def test_a_calibrated_bar_has_the_published_share_below_it_within_limits(pilot, preset):
    bands = calibrate(PRESETS[preset], pilot)
    assert bands == calibrate(PRESETS[preset], pilot[::-1]), "the order of a pilot tells nothing"
    bar = bands.weak_mean_below if bands.weak_mean_below is not None else bands.weak_mean_most
    assert bar is not None and LOWEST_BAR <= bar <= HIGHEST_BAR
    means = sorted(fmean(scores) for scores in pilot)
    below = sum(mean < bar for mean in means) / len(means)
    clear = means[int(0.32 * len(means))] - means[int(0.32 * len(means)) - 1] > 1e-3
    if LOWEST_BAR < bar < min(HIGHEST_BAR, 1 - 0.25 - 0.05) and clear:
        assert 0.32 - 1 / len(means) <= below <= 0.32
    assert bands.strong_mean_least == PRESETS[preset].strong_mean_least


def test_calibration_moves_the_best_score_along_and_leaves_room_for_the_gap():
    easy = calibrate(PRESETS["blog_later"], pilot_of([0.9 + i / 100 for i in range(10)]))
    assert (easy.weak_mean_most, easy.weak_best_most) == (0.75, 0.85), "0.95 less the gap of 0.20"
    hard = calibrate(PRESETS["blog_later"], pilot_of([i / 100 for i in range(10)]))
    assert (hard.weak_mean_most, hard.weak_best_most) == (0.2, 0.3)
    middle = calibrate(PRESETS["paper_cs"], pilot_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]))
    assert (middle.name, middle.weak_mean_below) == ("paper_cs, calibrated", 0.35), "three of ten are below"


def test_votes_counts_and_spreads_are_not_calibrated_and_a_small_pilot_is_refused():
    for preset in ("verifiable", "paper_science", "paper_legal"):
        assert calibrate(PRESETS[preset], pilot_of([0.5] * 10)) == PRESETS[preset]
    with pytest.raises(ValueError, match="at least 10"):
        calibrate(PRESETS["paper_cs"], pilot_of([0.5] * 9))
    with pytest.raises(ValueError, match="nan is no score"):
        calibrate(PRESETS["paper_cs"], pilot_of([0.5] * 9 + [math.nan]))
