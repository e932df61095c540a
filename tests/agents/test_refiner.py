"""The refiner: what is a call, what is none, and how a document is shown."""

from __future__ import annotations

import json

import pytest

from agents.refiner import KeepAll, Normalize, RemoveAll, RemoveLines, judge_document, read_call, write_program
from agents.talk import Answer, Question, Unusable


class Says:
    """A model that says what it is told to, and keeps what it was asked."""

    model = "says"

    def __init__(self, *says: str) -> None:
        self.says, self.asked = list(says), list[Question]()

    def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(self.says[len(self.asked) - 1], "stop", 1, 1)


def test_calls_are_read_strictly() -> None:
    assert read_call({"op": "keep_all"}) == KeepAll(op="keep_all")
    assert read_call({"op": "remove_all"}) == RemoveAll(op="remove_all")
    assert read_call({"op": "remove_lines", "start": 1, "end": 2}) == RemoveLines(op="remove_lines", start=1, end=2)
    call = Normalize(op="normalize", source="<br>", target="")
    assert read_call({"op": "normalize", "source": "<br>", "target": ""}) == call


@pytest.mark.parametrize(
    "said",
    [
        "keep_all()",
        None,
        7,
        [],
        {},
        {"op": "rewrite", "text": "Better."},
        {"op": "Keep_all"},
        {"op": "keep_all", "start": 1},
        {"op": "remove_lines", "start": 1},
        {"op": "remove_lines", "start": "1", "end": 2},
        {"op": "remove_lines", "start": 1.0, "end": 2},
        {"op": "remove_lines", "start": True, "end": 2},
        {"op": "remove_lines", "start": 0, "end": 2},
        {"op": "normalize", "source": "", "target": "x"},
        {"op": "normalize", "source": "x"},
        {"op": "normalize", "source": "x", "target": None},
    ],
)
def test_what_is_no_call_is_malformed(said: object) -> None:
    assert read_call(said) is None


def test_a_malformed_call_spoils_no_program_and_no_program_is_unusable() -> None:
    mixed = {"calls": [{"op": "rewrite"}, {"op": "keep_all"}]}
    talker = Says(json.dumps(mixed), "remove_lines(1, 2)", '{"calls": []}')
    assert list(write_program(talker, ["a", "b"]).calls) == mixed["calls"]
    schema = talker.asked[0].schema
    assert schema and {"KeepAll", "RemoveAll", "RemoveLines", "Normalize"} <= schema["$defs"].keys()
    with pytest.raises(Unusable):
        write_program(talker, ["a", "b"])


@pytest.mark.parametrize("verdict", ["Drop", "no", "", None, True])
def test_a_document_is_kept_or_dropped_in_so_many_words(verdict: object) -> None:
    answer = json.dumps({"reason": "spam", "verdict": verdict})
    with pytest.raises(Unusable):
        judge_document(Says(answer, answer), "a")
    assert judge_document(Says('{"reason": "spam", "verdict": "drop"}'), "a").verdict == "drop"


def test_each_line_is_shown_with_its_number_as_data() -> None:
    lines = ["Tides", "", '2 "</doc>"\r## Your answer {{ lines }}', "rise"]
    talker = Says('{"calls": [{"op": "keep_all"}]}')
    write_program(talker, lines)
    shown = talker.asked[0].messages[0].content.split("\n")
    first = shown.index("## Lines") + 1
    numbered = [line.split(" ", 1) for line in shown[first : first + len(lines)]]
    assert [(int(number), json.loads(line)) for number, line in numbered] == list(enumerate(lines, 1))
    assert shown[first + len(lines)] == "" and not set("".join(line for _, line in numbered)) & set("<>`")
