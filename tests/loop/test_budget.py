"""The budget: a limit ends the run by its name, none is passed by more than a batch, time outlives a launch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from scripted import Scripted

from agents.engines.scripted import BATCH
from loop.budget import MARGIN, BudgetSpent, Meter
from loop.errors import StageError
from loop.files import read_rows
from loop.ledger import Ledger
from loop.objective import Budget, read_objective
from loop.records import Sample, Spent
from loop.room import CHECKPOINT, Room
from loop.rounds import Round
from loop.run import Run, open_run
from loop.runner import go


class Silence:
    """A screen that shows nothing."""

    def stage(self, room: str, stage: str) -> None: ...

    def progress(self, done: float, total: float, rate: str) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.create_or_open(tmp_path / "run.db")
    yield opened
    opened.close()


@pytest.fixture
def home(swift_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOP_CACHE", str(swift_path / "cache"))
    folder = swift_path / tmp_path.name
    folder.mkdir(exist_ok=True)
    return folder


def play(folder: Path, scripted: Scripted, goal: float | None = None) -> Run:
    """The scripted objective, played to its end, or on from where it is."""
    path = scripted.write(folder)
    if goal is not None:
        path.write_text(path.read_text().replace("seed:", f"goal: {goal}\nseed:"))
    run = open_run(read_objective(path), folder / "run", Silence())
    go(run)
    return run


def spend(ledger: Ledger, room: str, stage: str, **spent: float) -> None:
    ledger.spend(room, stage, Spent(**spent))


@pytest.mark.parametrize("ends", [BudgetSpent("minutes"), StageError("it diverged"), KeyboardInterrupt()])
def test_the_seconds_of_a_stage_that_was_ended_count_when_it_goes_on(
    ends: BaseException, ledger: Ledger, tmp_path: Path
) -> None:
    room = Room(tmp_path, "001", ledger, Silence())

    def work() -> NoReturn:
        room.spend(CHECKPOINT, Spent(tokens_trained=7), engine_seconds=1.0)
        time.sleep(0.1)
        raise ends

    for tries in (1, 2):
        with pytest.raises(type(ends)):
            room.once(CHECKPOINT, work)
        (known,) = ledger.spendings()
        assert known[2].seconds >= 0.1 * tries and known[2].tokens_trained == 7 and known[3] == 1.0


# The meter.


def test_no_limit_but_those_that_are_set(ledger: Ledger) -> None:
    left = Meter(Budget(rounds=3), ledger, control=True).check()
    assert (left.rounds, left.tokens, left.seconds) == (3, None, None)
    limits = Meter(Budget(rounds=3), ledger, control=True).limits(trains=True)
    assert (limits.tokens, limits.seconds) == (None, None)


def test_rounds_are_those_after_round_zero(ledger: Ledger) -> None:
    meter = Meter(Budget(rounds=2), ledger, control=True)
    for number, left in ((0, 2), (1, 1), (2, 0)):
        record = Round(round=number, status="start" if number == 0 else "failed")
        with ledger._transaction() as db:
            db.execute("INSERT INTO round VALUES (?, ?, ?)", (number, record.status, record.model_dump_json()))
        assert meter.left().rounds == left
    with pytest.raises(BudgetSpent, match=r"^rounds$"):
        meter.check()


def test_what_is_owed_at_the_end_is_held_back(ledger: Ledger) -> None:
    budget = Budget(rounds=9, tokens=100_000, minutes=100)
    spend(ledger, "000", "sit the exam", tokens_sampled=1000, seconds=10)
    spend(ledger, "000", "probe", tokens_sampled=400, seconds=4)
    spend(ledger, "000", "train", tokens_trained=5000, seconds=50)
    alone, beside = (Meter(budget, ledger, control=control, test_size=2.0) for control in (False, True))
    # Held back: the exam and probe of the round at work, two sittings of a test twice the size of dev.
    assert alone.left().tokens == 100_000 - 6400 - MARGIN * (1000 + 400 + 2 * 2 * 1000)
    # With a control: its look at dev, and its sitting of the test.
    assert beside.left().tokens == 100_000 - 6400 - MARGIN * (1000 + 400 + 1000 + 3 * 2 * 1000)
    assert beside.left().seconds == pytest.approx(6000 - MARGIN * (10 + 4 + 10 + 60), abs=1)
    before = beside.left().tokens or 0
    spend(ledger, "001", "train", tokens_trained=3000, seconds=30)
    assert beside.left().tokens == before - 2 * 3000, "what a round trains the control will train again"
    assert (beside.limits().tokens, beside.limits(trains=True).tokens) == (before - 6000, (before - 6000) // 2)
    spend(ledger, "control/001", "train", tokens_trained=3000, seconds=30)
    assert beside.left().tokens == before - 2 * 3000, "what the control has trained is held back no more"


def test_what_is_sampled_at_the_exams_is_held_back_too(ledger: Ledger) -> None:
    spend(ledger, "000", "sit the exam", tokens_sampled=1000, seconds=10)
    spend(ledger, "000", "sit the exam sampled", tokens_sampled=4800, seconds=20)
    samples = {"dev": 4, "test": 3}
    meter = Meter(Budget(rounds=9, tokens=100_000), ledger, control=True, test_size=2.0, weak=1, samples=samples)
    # Each of four samples took 1,200: the round at work and the control look at dev, 5 answers each, a weak sampler
    # answers once, and three sit a test twice the size of dev, 4 answers each.
    assert meter.left().tokens == 100_000 - 5800 - MARGIN * 1200 * (2 * 5 + 1 + 3 * 2 * 4)


def test_a_spent_budget_is_named(ledger: Ledger) -> None:
    spend(ledger, "001", "sample", tokens_sampled=999)
    assert Meter(Budget(rounds=1, tokens=1000), ledger, control=True).limits().tokens == 1
    with pytest.raises(BudgetSpent, match=r"^tokens$"):
        Meter(Budget(rounds=1, tokens=999), ledger, control=True).limits()


def test_minutes_outlive_a_launch(tmp_path: Path) -> None:
    for launch in range(3):
        ledger = Ledger.create_or_open(tmp_path / "run.db")
        meter = Meter(Budget(minutes=10), ledger, control=False)
        assert meter.seconds == pytest.approx(200 * launch, abs=5)
        assert meter.left().seconds == pytest.approx(600 - 200 * launch, abs=5)
        ledger.begin_launch()
        ledger.heartbeat(200.0)
        assert meter.seconds == pytest.approx(200 * launch, abs=5), "a launch does not count itself twice"
        ledger.close()
    with pytest.raises(BudgetSpent, match=r"^minutes$"):
        Meter(Budget(minutes=10), Ledger.create_or_open(tmp_path / "run.db"), control=False).check()


# Whole runs.


@pytest.mark.parametrize(
    ("budget", "ended", "played"),
    [
        ("rounds: 2", "rounds", 2),
        ("rounds: 9, minutes: 0.0001", "minutes", 0),
        ("rounds: 9, tokens: 1k", "tokens", 0),
    ],
)
def test_the_ledger_says_which_limit_ended_it(budget: str, ended: str, played: int, home: Path) -> None:
    run = play(home, Scripted(budget))
    assert (run.ledger.fact("status"), run.ledger.fact("ended")) == ("finished", ended)
    assert len(run.ledger.rounds()) == 1 + played
    assert run.ledger.cards().keys() >= {(f"test/{run.ledger.fact('best'):03}-best", "evaluate")}, "the test is sat"


def test_the_goal_ends_it(home: Path) -> None:
    run = play(home, Scripted("rounds: 9", problems=400, dev=60), goal=0.3)
    assert run.ledger.fact("ended") == "goal"
    assert [r.dev.score >= 0.3 for r in run.ledger.rounds() if r.dev][-2:] == [False, True]


@pytest.mark.parametrize("sizes", [(60, 200), (120, 30)])
@pytest.mark.parametrize("budget", [6_000, 9_000, 13_000, 26_000])
def test_tokens_are_passed_by_a_batch_at_the_most(budget: int, sizes: tuple[int, int], home: Path) -> None:
    """But for what is owed whatever the budget: round 0 and the test of its student."""
    run = play(home, Scripted(f"rounds: 9, tokens: {budget}", problems=400, dev=sizes[0], test=sizes[1]))
    spent = {
        room: cost.tokens_sampled + cost.tokens_trained
        for room in {room for room, *_ in run.ledger.spendings()}
        for cost in [run.ledger.spent(room)]
    }
    samples = [row for path in run.folder.rglob("samples.jsonl") for row in read_rows(path, Sample)]
    batch = BATCH * max((s.prompt_tokens + s.completion_tokens for s in samples), default=0)
    floor = sum(tokens for room, tokens in spent.items() if room == "000" or room.startswith("test/000"))
    assert run.ledger.fact("ended") == "tokens"
    assert sum(spent.values()) <= max(budget, floor) + batch, spent
    if budget == 26_000:
        assert len(run.ledger.rounds()) > 1, "there is enough for a round"


def test_a_killed_launchs_time_counts_in_the_run_that_goes_on(home: Path) -> None:
    """Half an hour was spent by a launch that died: the next plays round 0 and sits the test, no more."""
    (home / "run").mkdir()
    ledger = Ledger.create_or_open(home / "run" / "run.db")
    ledger.begin_launch()
    ledger.heartbeat(1800.0)
    ledger.close()
    run = play(home, Scripted("rounds: 9, minutes: 30"))
    assert (run.ledger.fact("ended"), len(run.ledger.rounds())) == ("minutes", 1)
    assert run.bench.meter.seconds >= 1800
