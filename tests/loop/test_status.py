"""Status: the table fits a narrow terminal, and the claim says no more than was shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from loop.figures import in_p, in_time, in_tokens, in_usd
from loop.ledger import Ledger
from loop.records import Evaluation, Spent
from loop.rounds import Round
from loop.sittings import Sittings
from loop.statistics import mcnemar, wilson
from loop.status import Standing, as_json, as_table, claim, read_standing
from loop.timing import time_rows, time_table

N = 200


def exam(solved: range, name: str = "dev") -> Evaluation:
    """An exam of N problems, of which these were solved."""
    ids = tuple(f"{i:04}" for i in solved)
    return Evaluation(exam=name, checkpoint="c", score=wilson(len(ids), N), cells=(), solved=ids)


def closed(number: int, status: str, solved: range, best: range | None = None) -> Round:
    """A round that solved these, against the best that solved those."""
    ids, old = ([f"{i:04}" for i in r] for r in (solved, best or range(0)))
    return Round.model_validate(
        {
            "round": number, "status": status, "dev": wilson(len(ids), N).model_dump(), "sampled": 12_000 * number,
            "examples": 1_234, "verdict": mcnemar(ids, old).model_dump() if best else None,
        }
    )  # fmt: skip


def standing(
    status: str = "finished", control: range | None = range(45), test: range = range(50, 140), kept: bool = True
) -> Standing:
    """Three rounds: the second discarded, the third failed; on the test round 0 solves the first 60."""
    rounds = [
        closed(0, "start", range(40)),
        closed(1, "kept" if kept else "discarded", range(100), range(40)),
        closed(2, "discarded", range(98), range(100)),
        Round(
            round=3, status="failed", reason="round 3: StageError: [/red] no loss [bold]\nany more " + 20 * "very "
        ),
    ]
    exams = {"000": exam(range(40)), "001": exam(range(100)), "002": exam(range(98))}
    best = "001" if kept else "000"
    if control is not None and kept:
        exams["control/001"] = exam(control)
        exams[f"test/{best}-control"] = exam(range(55), "test")
    if status == "finished":
        exams |= {f"test/{best}-best": exam(test, "test"), f"test/{best}-start": exam(range(60), "test")}
    rooms = ("000", "001", "002", "control/001", "test/001-best")
    spent = {room: Spent(tokens_sampled=123_456_789, tokens_trained=10**6, seconds=4000.0) for room in rooms}
    return Standing(Path("/somewhere/runs/sums-0123abcd"), status, rounds, spent, Sittings(exams), "rounds", 20_000.0)


def shown(what: RenderableType, width: int) -> list[str]:
    """The lines as they go into a file."""
    file = io.StringIO()
    Console(file=file, width=width).print(what)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("state", [standing(), standing("running"), standing(control=None), standing(kept=False)])
def test_table_is_whole_in_eighty_columns(state: Standing, width: int) -> None:
    lines = shown(as_table(state), width)
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line or "\x1b" in line for line in lines)
    rows = [line.split() for line in lines]
    best = ["*", "1"] if state.best == 1 else ["1"]
    status = "kept" if state.best == 1 else "discarded"
    test = ["0.450"] if state.status == "finished" and state.best else []
    assert [*best, status, "0.500", "0.43-0.57", *test, "12,000", "1,234", "124M", "1:06:40", "<0.001"] in rows
    assert any(row[:2] == ["2", "discarded"] and row[-1] == "1.000" for row in rows)
    assert any(row[:2] == ["3", "failed"] for row in rows)
    assert (["control", "0.225"] in [row[:2] for row in rows]) == (state.exams.control() is not None)


def test_long_reason_is_one_line(tmp_path: Path) -> None:
    lines = shown(as_table(standing()), 80)
    told = [line for line in lines if "no loss" in line]
    assert len(told) == 1
    assert told[0].startswith("round 3 failed: StageError: [/red] no loss [bold] any more")
    assert told[0].rstrip().endswith("...")


def test_handovers_and_critics_that_are_not_believed_are_a_line_each(tmp_path: Path) -> None:
    ledger = Ledger.create_or_open(tmp_path / "run.db")
    ledger.event("critic", "small is not believed as a critic in round 001: accepts 40% of the attacks")
    for number in (1, 2, 2):  # a launch that died in between says it again
        ledger.event("handover", f"round 00{number}: the rules planned, since small could not be reached")
    ledger.event("failure", "attempt 1: nothing that a table should tell")
    ledger.close()
    lines = [line.rstrip() for line in shown(as_table(read_standing(tmp_path)), 80)]
    assert "handover (2): round 002: the rules planned, since small could not be reached" in lines
    assert "critic: small is not believed as a critic in round 001: accepts 40% of the ..." in lines
    assert not any("attempt 1" in line for line in lines)
    assert list(as_json(read_standing(tmp_path))) == ["run", "status", "best_round", "rounds"]


def test_dollars_are_a_column_where_any_were_spent() -> None:
    state = standing()
    assert not any("usd" in line for line in shown(as_table(state), 80))
    state.spent["001"] = state.spent["001"].model_copy(update={"usd": 1234.567})
    lines = shown(as_table(state), 80)
    assert all(len(line) <= 80 and "…" not in line for line in lines)
    rows = [line.split() for line in lines]
    assert next(row for row in rows if "usd" in row)[-3:] == ["usd", "time", "p"]
    assert next(row for row in rows if row[:3] == ["*", "1", "kept"])[-3:] == ["1235", "1:06:40", "<0.001"]
    assert [in_usd(dollars) for dollars in (0.004, 12.3, 99.994, 99.996)] == ["0.00", "12.30", "99.99", "100"]
    assert next(row for row in rows if row[:2] == ["2", "discarded"])[-3:] == ["0.00", "1:06:40", "1.000"]


def test_claim_of_a_gain_names_its_rivals() -> None:
    # Test: 50..139 against 0..59, so 80 better, 50 worse of 200; dev: 0..99 against 0..44, the control.
    assert claim(standing()) == (
        "On the sealed test round 1 solves 15.0 points more than round 0 (95 %: +4.0 to +26.0);"
        " on dev, which chose it, it solves 27.5 points more than the control (95 %: +21.3 to +33.7)."
    )


def test_claim_says_when_the_test_does_not_show_it() -> None:
    assert "is not shown to beat round 0: +1.5 points (95 %: -2.8 to +5.8)" in claim(standing(test=range(8, 71)))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (standing("running"), "So far round 1 solves 0.500 of dev; nothing is claimed before"),
        (standing("interrupted"), "nothing is claimed before the control and the sealed test are done"),
        (standing(control=None), "Nothing is claimed, since there is no control"),
        (standing(kept=False), "None of the 3 rounds is shown to be better than round 0: nothing is gained."),
    ],
)
def test_nothing_more_is_claimed_than_shown(state: Standing, words: str) -> None:
    assert words in claim(state)
    assert "points" not in claim(state)


def test_before_round_zero_is_done() -> None:
    empty = Standing(Path("run"), "running", [], {}, Sittings({}), "", 0.0)
    assert claim(empty) == "Round 0 is not finished: there is nothing to compare yet."
    assert shown(as_table(empty), 80)


def test_round_under_way_is_told() -> None:
    state = standing("running")
    state.spent["004"] = Spent(seconds=75.0)
    assert state.under_way == "004"
    assert any(line.startswith("round 4 is not finished: 1:15 so far") for line in shown(as_table(state), 80))


def test_public_json() -> None:
    answer = as_json(standing())
    assert list(answer) == ["run", "status", "best_round", "rounds", "control"]
    assert answer["best_round"] == 1
    first = answer["rounds"][1]
    assert list(first) == ["round", "status", "dev", "kept", "strategies", "spent", "test"]
    assert first["dev"] == {
        "score": 0.5,
        "low": pytest.approx(0.431, abs=1e-3),
        "high": pytest.approx(0.569, abs=1e-3),
        "n": N,
    }
    assert list(first["spent"]) == ["tokens_sampled", "tokens_trained", "flops", "seconds", "usd"]
    assert answer["rounds"][3]["dev"] is None
    assert answer["control"]["dev"]["score"] == 0.225


def test_words_for_numbers() -> None:
    tokens = {
        0: "0",
        950: "950",
        999_499: "999k",
        999_999: "1.00M",
        20_900: "20.9k",
        1_234_567: "1.23M",
        10**9: "1.00B",
    }
    assert {count: in_tokens(count) for count in tokens} == tokens
    assert [in_time(s) for s in (0.9, 67, 3599.9, 11_112)] == ["0:00", "1:07", "59:59", "3:05:12"]
    assert [in_p(p) for p in (1.0, 0.0104, 0.001, 0.0009)] == ["1.000", "0.010", "0.001", "<0.001"]


def test_time_table_is_whole_in_eighty_columns(tmp_path: Path) -> None:
    ledger = Ledger.create_or_open(tmp_path / "run.db")
    ledger.begin_launch()
    ledger.heartbeat(26_000.0)
    ledger.spend("000", "train", Spent(seconds=12_000.0), 11_000.0, 5 * 2**30)
    ledger.spend("001", "train", Spent(seconds=3_000.0), 2_000.0, 2**30)
    ledger.spend("001", "sit the exam", Spent(seconds=9_000.0), 8_999.0, 2**30)
    ledger.spend("002", "train", Spent(), 1_000.0)  # of a launch that was killed
    ledger.close()
    whole, *stages = time_rows(tmp_path)
    assert whole == ("the whole run", 26_000.0, 22_999.0, 5 * 2**30)
    assert stages[0] == ("train", 16_000.0, 14_000.0, 5 * 2**30)
    assert stages[-1] == ("around the stages", 1_000.0, 0.0, 0)
    lines = shown(time_table(tmp_path), 80)
    assert all(len(line) <= 80 and "…" not in line for line in lines)
    assert any(line.split() == ["train", "16,000.0", "14,000.0", "2,000.0", "7.7%", "5.00", "GiB"] for line in lines)
    state = read_standing(tmp_path)
    assert state.status == "running"
    assert state.seconds == 26_000.0
