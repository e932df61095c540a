"""Constraints: each program is right about a response that meets it and one that nearly does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.writers.constraints import CHECKERS, Constraint, draw_constraints, unmet
from agents.writers.words import constraint_words, words

CASES = [
    (Constraint("words_at_least", 4), "Don't stop the well-known 3", "Don't stop well-known-3"),
    (Constraint("words_at_most", 3), "one two three", "one two three four"),
    (Constraint("sentences", 2), 'It costs 3.50 today. "Really?"', "It costs 3. 50 today. Really?"),
    (Constraint("sentences", 2), "One… Then two without an end", "One, two."),
    (Constraint("paragraphs", 2), "a\nb\n\n\n \nc\n", "a\nb\nc"),
    (Constraint("bullets", 2), "Here:\n- a\n  - b\n-no bullet", "- a - b"),
    (Constraint("keyword", 2, "water"), "Water is water.", "Waters are water."),
    (Constraint("keyword_absent", 0, "paper"), "Newspapers say so.", "On PAPER, yes."),
    (Constraint("json_only"), '{"a": [1, 2]}', '```json\n{"a": 1}\n```'),
    (Constraint("json_only"), "[1]", "1"),
    (Constraint("lower_case"), "all small, 3 of 3: straße", "all Small"),
    (Constraint("upper_case"), "ALL 3", "ALL of 3"),
    (Constraint("ends_with", 0, "Keep this in mind."), "So. Keep this in mind.\n", "Keep this in mind. Yes"),
    (Constraint("no_commas"), "one; two", "one, two"),
    (Constraint("title"), "<<On water>>\nIt flows.", "It flows. <<On water>>"),
    (Constraint("title"), "<<3 ways>>", "<< >>\nIt flows."),
    (Constraint("in_quotes"), '"So it is."', '"So it is.'),
]


@pytest.mark.parametrize(("constraint", "good", "bad"), CASES)
def test_a_checker_tells_what_meets_it(constraint, good, bad):
    assert constraint.holds(good)
    assert not constraint.holds(bad)
    assert not constraint.holds(" \n"), "an empty response meets none"


def test_every_constraint_has_words_and_a_case():
    assert CHECKERS.keys() == constraint_words().keys() == {constraint.name for constraint, *_ in CASES}
    for name, said in constraint_words().items():
        constraint = Constraint(name, 3, "so")
        assert ("{number}" in said["text"]) == ("number" in said)
        assert ("{word}" in said["text"]) == ("word" in said)
        assert "{" not in constraint.text
        assert said["touches"] and ("word" not in said or words(said["word"]))


@given(st.integers(1, 4), st.integers(0, 2**64))
def test_what_is_drawn_together_can_be_met_together(most, luck):
    drawn = draw_constraints(most, luck)
    touched = [side for constraint in drawn for side in constraint_words()[constraint.name]["touches"]]
    assert 1 <= len(drawn) <= most
    assert len(touched) == len(set(touched))
    assert drawn == draw_constraints(most, luck)


def test_every_constraint_is_drawn_and_the_first_unmet_is_named():
    drawn = {constraint.name for luck in range(300) for constraint in draw_constraints(3, luck)}
    assert drawn == CHECKERS.keys()
    both = (Constraint("no_commas"), Constraint("words_at_most", 2))
    assert unmet(both, "one two three") == both[1]
    assert unmet(both, "one, two, three") == both[0]
    assert unmet(both, "one two") is None
