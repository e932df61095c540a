"""Refining by program: what is carried out, what is skipped, and what is never touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.talk import Answer, Question
from loop.refining import CHUNK, Refined, execute, refine, split_chunks

LINES = ("Home | About | Login", "Tides rise twice a day.<br>", "They follow the moon.<br>", "Share this!")
KEEP = {"op": "keep_all"}


class Refiner:
    """Keeps or drops every document, and writes for a chunk what a function makes of its lines."""

    model = "refiner"

    def __init__(self, write: Callable[[list[str]], str], fate: str = '{"reason": "so", "verdict": "keep"}') -> None:
        self.write, self.fate = write, fate
        self.asked = 0

    def ask(self, question: Question) -> Answer:
        self.asked += 1
        prompt = question.messages[0].content
        if not prompt.startswith("# Clean"):
            return Answer(self.fate, "stop", 1, 1)
        shown = prompt.split("## Lines\n")[1].split("\n\n## Your answer")[0].split("\n")
        return Answer(self.write([json.loads(line.split(" ", 1)[1]) for line in shown]), "stop", 1, 1)


def says(*calls: object) -> Callable[[list[str]], str]:
    return lambda _: json.dumps({"calls": calls})


def counts(refined: Refined) -> tuple[int, int, int]:
    return refined.executed, refined.skipped, refined.malformed


def test_a_program_cleans_a_document() -> None:
    program = (
        {"op": "remove_lines", "start": 1, "end": 1},
        {"op": "normalize", "source": "<br>", "target": ""},
        {"op": "remove_lines", "start": 4, "end": 4},
    )
    refined = refine(Refiner(says(*program)), "\n".join(LINES))
    assert (refined.status, refined.text) == ("kept", "Tides rise twice a day.\nThey follow the moon.")
    assert counts(refined) == (3, 0, 0) and (refined.chunks, refined.unusable) == (1, 0)
    assert all(refined.prompts) and Refined.model_validate_json(refined.model_dump_json()) == refined


def test_unknown_op_leaves_text_untouched() -> None:
    """mechanisms §4, ProX CHECK. Confirmed with the released code (GAIR-NLP/ProX, chunk_utils): what matches no op
    does nothing; there lines are numbered from 0, here from 1, and said so in the prompt."""
    text = "\n".join(LINES)
    for call in ({"op": "rewrite", "text": "Better."}, {"op": "delete", "start": 1, "end": 4}, "remove_all()"):
        refined = refine(Refiner(says(call)), text)
        assert (refined.status, refined.text, counts(refined)) == ("kept", text, (0, 0, 1))


@pytest.mark.parametrize(
    ("call", "executed", "skipped", "malformed"),
    [
        (KEEP, 1, 0, 0),
        ({"op": "remove_lines", "start": 2, "end": 5}, 0, 1, 0),
        ({"op": "remove_lines", "start": 5, "end": 9}, 0, 1, 0),
        ({"op": "remove_lines", "start": 3, "end": 2}, 0, 1, 0),
        ({"op": "remove_lines", "start": -1, "end": 2}, 0, 0, 1),
        ({"op": "remove_lines", "start": "1", "end": 2}, 0, 0, 1),
        ({"op": "normalize", "source": "sun", "target": "moon"}, 0, 1, 0),
        ({"op": "normalize", "source": "day.<br>\nThey", "target": ""}, 0, 1, 0),
        ({"op": "normalize", "source": " ", "target": ""}, 0, 1, 0),
        ({"op": "normalize", "source": "", "target": "x"}, 0, 0, 1),
    ],
)
def test_malformed_and_out_of_range_calls_are_skipped_and_counted(
    call: dict[str, Any], executed: int, skipped: int, malformed: int
) -> None:
    done = execute([call, {"op": "remove_lines", "start": 4, "end": 4}], LINES)
    assert done == (LINES[:3], executed + 1, skipped, malformed), "the call after it is carried out all the same"


def test_numbers_are_those_that_were_shown() -> None:
    calls = [
        {"op": "remove_lines", "start": 1, "end": 2},
        {"op": "normalize", "source": "moon", "target": "sun\nand moon"},
        {"op": "remove_lines", "start": 2, "end": 2},
        {"op": "remove_lines", "start": 4, "end": 4},
    ]
    assert execute(calls, LINES).lines == ("They follow the sun\nand moon.<br>",)


def test_a_dropped_document_is_asked_about_once() -> None:
    talker = Refiner(says(KEEP), fate='{"reason": "A menu.", "verdict": "drop"}')
    refined = refine(talker, "\n".join(LINES))
    assert (refined.status, refined.text, refined.reason, talker.asked) == ("dropped", "", "A menu.", 1)
    emptied = refine(Refiner(says({"op": "remove_all"})), "\n".join(LINES))
    assert (emptied.status, emptied.text, emptied.executed) == ("dropped", "", 1)


def test_what_a_model_cannot_say_changes_nothing() -> None:
    text = "\n".join(LINES)
    undecided = refine(Refiner(says(KEEP), fate="Drop it."), text)
    assert (undecided.status, undecided.text) == ("error", text) and undecided.reason
    speechless = refine(Refiner(lambda _: "remove_all()"), text)
    assert (speechless.status, speechless.text, speechless.unusable) == ("kept", text, 1)


def test_long_documents_are_cleaned_chunk_by_chunk() -> None:
    text = "\n".join([*("x" * 90 + str(n) for n in range(200)), "y" * (CHUNK + 1), "", "end"])

    def write(lines: list[str]) -> str:
        last = {"op": "remove_lines", "start": len(lines), "end": len(lines)}
        return json.dumps({"calls": [last, {"op": "remove_lines", "start": 1, "end": len(lines) + 1}]})

    refined = refine(Refiner(write), text)
    chunks = list(split_chunks(text))
    assert len(chunks) > 4 and all(len("\n".join(chunk)) <= CHUNK or len(chunk) == 1 for chunk in chunks)
    assert refined.text == "\n".join(line for chunk in chunks for line in chunk[:-1])
    assert counts(refined) == (len(chunks), len(chunks), 0) and refined.chunks == len(chunks)


ANY_CALL = st.one_of(
    st.none() | st.integers() | st.text(max_size=5),
    st.fixed_dictionaries({"op": st.sampled_from(["keep_all", "remove_all", "rewrite"])}),
    st.fixed_dictionaries({"op": st.just("remove_lines"), "start": st.integers(-2, 6), "end": st.integers(-2, 6)}),
    st.fixed_dictionaries(
        {"op": st.just("normalize"), "source": st.text("ab \n", max_size=2), "target": st.just("c") | st.none()}
    ),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(ANY_CALL, max_size=6), st.text("ab \n\r\u2028", max_size=30))
def test_every_call_is_counted_once_and_lines_only_go(calls: list[object], text: str) -> None:
    assert "\n".join(line for chunk in split_chunks(text) for line in chunk) == text
    lines = text.split("\n")
    done = execute(calls, lines)
    assert sum(done[1:]) == len(calls)
    assert len(done.lines) <= len(lines)
    if not done.executed:
        assert done.lines == tuple(lines)
