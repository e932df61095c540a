"""A scripted run is killed at every failpoint, and must end as the unbroken run does, nothing done twice or lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from launches import DIED, Launch, Launcher, State, difference, state
from scripted import Scripted

from agents.engines.scripted import BATCH
from loop.critics import THREADS
from loop.files import RowFile
from loop.ledger import Ledger

PARTS = 8
"""The failpoints are dealt to so many tests; together they are all of them."""
TWICE = 20
"""Crashes during which the recovery is killed too."""
SMALL = Scripted(problems=30, demonstrations=14, dev=8, test=4, orchestrator="uniform", budget="rounds: 1")
"""Its plans do not look at the budget, so that this runs out anywhere."""
ENDS = ("plan", "mix", "ledger")
"""Where tokens run out in round 1, by its last finished stage: as it samples, before it trains, as it closes."""
APPENDED = ("samples.jsonl", "attempts.jsonl", "attempts_sampled.jsonl", "again.jsonl", "probe.jsonl", "talks.jsonl")


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing happens to."""

    objective: Path
    launch: Launch
    state: State

    @property
    def count(self) -> int:
        """How many failpoints it passes."""
        return len(self.launch.failpoints)

    @property
    def statuses(self) -> list[object]:
        return [row[0] for row in self.state["round"].values()]

    def reaches(self, name: str, nth: int = 1) -> int:
        """The number of the nth failpoint of this name."""
        return [k for k, passed in enumerate(self.launch.failpoints, 1) if passed == name][nth - 1]


def play(scripted: Scripted, folder: Path, launcher: Launcher) -> Unbroken:
    objective = scripted.write(folder)
    launch = launcher.launch(objective, folder / "unbroken")
    assert launch.code == 0, launch.said
    assert not launch.torch, "scripted runs import no torch"
    return Unbroken(objective, launch, state(folder / "unbroken"))


@pytest.fixture(scope="module")
def unbroken(swift_path: Path, launchers: list[Launcher]) -> Unbroken:
    """A run with a control in which a round is kept, and one after it discarded."""
    for seed in range(11, 300):  # one in twenty-five gives such a run
        run = play(Scripted(seed=seed), swift_path / f"seed {seed}", launchers[0])
        if run.statuses[-2:] == ["kept", "discarded"]:
            return run
    raise AssertionError("no seed gives such a run: is the scripted student still able to learn?")


@pytest.fixture(scope="module")
def short(swift_path: Path, launchers: list[Launcher]) -> dict[str, Unbroken]:
    """Runs whose tokens run out in round 1, by the last stage of it that is finished then."""
    found: dict[str, Unbroken] = {}
    for tokens in range(1000, 9000, 100):
        scripted = replace(SMALL, budget=f"rounds: 2, tokens: {tokens}")
        run = play(scripted, swift_path / f"tokens {tokens}", launchers[0])
        stages = [name.partition("/")[2] for name in run.state["card"] if name.startswith("001/")]
        if stages and json.loads(str(run.state["fact"]["ended"][0])) == "tokens" and len(run.statuses) < 3:
            found.setdefault(stages[-1], run)
        if run not in found.values():
            shutil.rmtree(run.objective.parent)
        if set(ENDS) <= set(found):
            break
    return found


# The proof.


@pytest.mark.parametrize("part", range(PARTS))
def test_death_at_every_failpoint(part: int, unbroken: Unbroken, launchers: list[Launcher]) -> None:
    every = range(1, unbroken.count + 1)
    check_deaths(unbroken, launchers, [(k,) for k in every[part::PARTS]])


@pytest.mark.parametrize("end", ENDS)
def test_death_at_every_failpoint_where_tokens_run_out(
    end: str, short: dict[str, Unbroken], launchers: list[Launcher]
) -> None:
    run = short[end]
    check_deaths(run, launchers, [(k,) for k in range(1, run.count + 1)])


def test_death_during_recovery(unbroken: Unbroken, launchers: list[Launcher]) -> None:
    luck = random.Random(0)
    every = range(1, unbroken.count + 1)
    check_deaths(unbroken, launchers, [(k, luck.randint(1, 12)) for k in luck.sample(every, TWICE)])


def test_death_at_every_failpoint_while_models_plan_and_judge(swift_path: Path, launchers: list[Launcher]) -> None:
    cast = replace(SMALL, demonstrations=6, orchestrator="scripted/planner", critic="scripted/critic")
    run = play(cast, swift_path / "agents", launchers[0])
    assert {"rounds/001/talks.jsonl", "rounds/001/calibrations.jsonl"} <= set(run.state["files"])
    talking = range(run.reaches("ledger saved"), run.reaches("critique saved") + 1)  # the rest is as without models
    check_deaths(run, launchers, [(k,) for k in talking])


def test_death_at_every_failpoint_of_a_chain_of_students(swift_path: Path, launchers: list[Launcher]) -> None:
    """A link that is finished is not trained again: see also tests/loop/test_chain.py."""
    more = "training: {method: distill}\n"
    run = play(replace(SMALL, more=more), swift_path / "chain", launchers[0])
    assert "rounds/001/links/04/link.json" in run.state["files"]
    chain = range(run.reaches("mix saved"), run.reaches("train saved", 2) + 1)
    assert len(chain) > 4 * 3, "four links are published, and the checkpoint"
    check_deaths(run, launchers, [(k,) for k in chain])


def test_sigterm_at_every_failpoint(swift_path: Path, launchers: list[Launcher]) -> None:
    run = play(SMALL, swift_path / "sigterm", launchers[0])
    check_deaths(run, launchers, [(k,) for k in range(1, run.count + 1)], signal.SIGTERM)


# The places that the proof does not reach.


def test_a_torn_last_row_and_no_other_is_owed(unbroken: Unbroken, launchers: list[Launcher]) -> None:
    run = unbroken.objective.parent / "torn" / "run"
    run.parent.mkdir()
    first = launchers[0].launch(unbroken.objective, run, unbroken.reaches("sample worked out"))
    samples = run / "rounds" / "001" / "samples.jsonl"
    rows = samples.read_bytes()
    with samples.open("r+b") as file:
        file.truncate(len(rows) - 9)
    last = launchers[1].launch(unbroken.objective, run, None)
    torn = json.loads(rows.splitlines()[-1])["id"]
    assert [key for _, key in set(last.answered) & set(first.answered)] == [torn]
    assert samples.read_bytes() == rows
    assert difference(state(run), unbroken.state) == ""


def test_rows_have_one_writer(tmp_path: Path, unbroken: Unbroken, launchers: list[Launcher]) -> None:
    holder = launchers[0].launch(
        unbroken.objective, tmp_path / "run", unbroken.reaches("rows appended"), signal.SIGSTOP
    )
    path = tmp_path / "run" / "rounds" / "000" / "attempts.jsonl"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(RowFile, path)
        time.sleep(0.2)
        assert not waiting.done()
        os.kill(holder.pid, signal.SIGKILL)
        waiting.result(10).close()


def test_a_second_process_is_refused_until_the_first_is_dead(
    tmp_path: Path, unbroken: Unbroken, launchers: list[Launcher]
) -> None:
    run = tmp_path / "run"
    holder = launchers[0].launch(unbroken.objective, run, unbroken.count // 2, signal.SIGSTOP)
    assert holder.code == -signal.SIGSTOP
    second = launchers[1].launch(unbroken.objective, run, None, command=True)
    assert second.code == 3
    assert second.said.splitlines()[1:] == [
        f"loop: {run}: another process works on this run; wait for it, or stop it"
    ]
    os.kill(holder.pid, signal.SIGKILL)
    wait_for_death(holder.pid)
    assert launchers[1].launch(unbroken.objective, run, None).code == 0
    assert difference(state(run), unbroken.state) == ""


def test_sigterm_is_one_line_and_130(tmp_path: Path, unbroken: Unbroken, launchers: list[Launcher]) -> None:
    run = tmp_path / "run"
    stopped = launchers[0].launch(unbroken.objective, run, unbroken.count // 2, signal.SIGTERM, command=True)
    assert stopped.code == 130
    assert stopped.said.splitlines()[-1] == "loop: interrupted; the same command goes on from here"
    assert "Traceback" not in stopped.said
    assert "Aborted" not in stopped.said
    with closing(sqlite3.connect(run / "run.db")) as ledger:
        assert ledger.execute("SELECT ended FROM launch").fetchall() == [("interrupted",)]


def test_every_file_of_a_finished_round_is_checked(unbroken: Unbroken, launchers: list[Launcher]) -> None:
    home = unbroken.objective.parent / "flipped"
    home.mkdir()
    launchers[0].launch(unbroken.objective, home / "run", unbroken.reaches("plan saved", 3))
    files = sorted(p.relative_to(home / "run") for p in (home / "run/rounds").rglob("*") if p.is_file())
    files = [p for p in files if p.parts[1] in ("000", "002")]
    assert {"samples.jsonl", "plan.json", "round.json", "manifest.json", "scripted.json"} <= {p.name for p in files}

    def flip(file: Path, number: int) -> tuple[str, int, bool]:
        run = home / str(number) / "run"
        shutil.copytree(home / "run", run)
        content = bytearray((run / file).read_bytes())
        content[len(content) // 2] ^= 1
        (run / file).write_bytes(content)
        launch = launchers[number % 2].launch(unbroken.objective, run, None)
        shutil.rmtree(run)
        return str(file), launch.code, f"{run / file}: " in launch.said

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(flip, files, range(len(files))))
    best = Path("rounds", "002", "checkpoint")  # rolled back to the one before it; nothing comes before that of 000
    assert found == [(str(file), 0 if best in file.parents else 5, True) for file in files]


@pytest.mark.parametrize("at", [0, 100, 4096, 8192])
def test_a_damaged_ledger_is_refused(at: int, tmp_path: Path, unbroken: Unbroken, launchers: list[Launcher]) -> None:
    run = tmp_path / "run"
    launchers[0].launch(unbroken.objective, run, unbroken.count // 2)
    with closing(sqlite3.connect(run / "run.db")) as ledger:
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (run / "run.db").open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 700)
    refused = launchers[1].launch(unbroken.objective, run, None)
    assert (refused.code, f"{run / 'run.db'}: " in refused.said) == (5, True), refused.said


def test_a_ledger_of_a_later_version_is_refused_and_left_alone(
    tmp_path: Path, unbroken: Unbroken, launchers: list[Launcher]
) -> None:
    run = tmp_path / "run"
    launchers[0].launch(unbroken.objective, run, unbroken.count // 2)
    with closing(sqlite3.connect(run / "run.db")) as ledger:
        ledger.execute("PRAGMA user_version=1000")
    for launcher in launchers:
        refused = launcher.launch(unbroken.objective, run, None)
        assert (refused.code, "schema 1000" in refused.said) == (5, True)


# After the end.


def test_a_finished_run_says_so_and_changes_nothing(unbroken: Unbroken, launchers: list[Launcher]) -> None:
    run = unbroken.objective.parent / "unbroken"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if is_final(path.relative_to(run))}
    again = launchers[1].launch(unbroken.objective, run, None, command=True)
    assert again.code == 0, again.said
    assert "this run is finished" in again.said
    assert again.answered == []
    assert difference(state(run), unbroken.state) == ""
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if is_final(path.relative_to(run))}
    assert {path for path in after if before.get(path) != after[path]} <= {run / "report.html"}


def test_a_raised_budget_plays_the_rounds_of_a_run_that_had_it_from_the_start(
    swift_path: Path, launchers: list[Launcher]
) -> None:
    """But for the test: it was opened for the old best, and is opened again for the new one, in rooms of its own."""
    for seed in range(60):
        folder = swift_path / f"prolonged {seed}"
        scripted = Scripted(orchestrator="uniform", seed=seed)
        whole = play(scripted, folder, launchers[0])
        if whole.statuses[:3] == ["start", "discarded", "kept"]:
            break
    run = folder / "prolonged"
    for budget in ("rounds: 1", "rounds: 3"):
        objective = replace(scripted, budget=budget).write(folder)
        assert launchers[1].launch(objective, run, None).code == 0
    found = state(run)
    found["files"]["OBJECTIVE.md"] = whole.state["files"]["OBJECTIVE.md"]  # as it was started first
    opened = {room.rpartition("/")[0] for room in found["card"] if room.startswith("test/")}
    assert opened == {f"test/{name}" for name in ("000-best", "000-start", "002-best", "002-start", "002-control")}
    for part in ("files", "card", "spent"):
        rows = {name: row for name, row in found[part].items() if not name.startswith("test/000-")}
        assert difference({part: rows}, {part: whole.state[part]}) == ""
    assert found["round"] == whole.state["round"]
    assert found["fact"] == whole.state["fact"]


def test_a_run_that_was_short_of_tokens_goes_on_where_it_stopped(
    swift_path: Path, short: dict[str, Unbroken], launchers: list[Launcher]
) -> None:
    stopped = short["plan"]
    folder = swift_path / "more tokens"
    shutil.copytree(stopped.objective.parent, folder)
    samples = folder / "unbroken" / "rounds" / "001" / "samples.jsonl"
    rows = samples.read_bytes()
    limit = stopped.objective.parent.name.partition(" ")[2]
    spent = sum(int(row[1]) + int(row[2]) for name, row in stopped.state["spent"].items() if "test/" in name)
    objective = replace(SMALL, budget=f"rounds: 2, tokens: {int(limit) + spent + 200}").write(folder)
    assert launchers[0].launch(objective, folder / "unbroken", None).code == 0
    assert samples.read_bytes().startswith(rows)
    assert len(samples.read_bytes()) > len(rows)
    ids = [json.loads(row)["id"] for row in samples.read_bytes().splitlines()]
    assert len(ids) == len(set(ids))


# How a crash is played and what is looked at.


def check_deaths(
    unbroken: Unbroken, launchers: Sequence[Launcher], deaths: Sequence[tuple[int, ...]], by: int | None = None
) -> None:
    """Crash and recover, two at a time; stop at the first run that does not end as it should."""

    def end(death: tuple[int, ...]) -> str:
        return crash(unbroken, launchers[:: 1 if death[0] % 2 else -1], death, by)

    with ThreadPoolExecutor(len(launchers)) as pool:
        for death, wrong in zip(deaths, pool.map(end, deaths), strict=True):
            if wrong:
                pool.shutdown(cancel_futures=True)
                where = unbroken.launch.failpoints[death[0] - 1]
                pytest.fail(f"killed at failpoint {death} of {unbroken.count}, {where}: {wrong}", pytrace=False)


def crash(unbroken: Unbroken, launchers: Sequence[Launcher], deaths: Sequence[int], by: int | None) -> str:
    """Die at each of the failpoints in turn, then play to the end; what is not as it should be, or ""."""
    run = unbroken.objective.parent / "-".join(map(str, deaths)) / "run"
    run.parent.mkdir()
    killed = [launchers[i % 2].launch(unbroken.objective, run, nth, by) for i, nth in enumerate(deaths)]
    left = Remains.of(run, killed)
    last = launchers[len(deaths) % 2].launch(unbroken.objective, run, None)
    codes = [launch.code for launch in (*killed, last)]
    if codes != [DIED if by is None else 130] * len(deaths) + [0]:
        return f"the launches ended with {codes}: {last.said}"
    wrong = left.wrong_after(last, unbroken) or difference(state(run), unbroken.state)
    shutil.rmtree(run.parent)
    return wrong


@dataclass(frozen=True)
class Remains:
    """What a killed run leaves. Nothing of it may be done again."""

    files: dict[Path, bytes]
    carded: set[tuple[str, str]]
    answered: set[tuple[str, str]]
    """What the engine was asked for so far."""

    @classmethod
    def of(cls, run: Path, killed: Sequence[Launch]) -> Remains:
        files = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and is_final(p.relative_to(run))}
        return cls(files, cards_in(run), {pair for launch in killed for pair in launch.answered})

    def wrong_after(self, last: Launch, unbroken: Unbroken) -> str:
        """What the launch that went on has not kept, or has done again."""
        rows = 0
        for path, content in self.files.items():
            rows += content.count(b"\n") * (path.name in APPENDED)
            whole = content[: content.rfind(b"\n") + 1] if path.name in APPENDED else content
            if not path.is_file() or not path.read_bytes().startswith(whole):
                return f"{path} was whole and is changed"
        if again := self.carded & set(last.stages):
            return f"finished stages were worked on again: {sorted(again)}"
        again = self.answered & set(last.answered)
        if len(again) != len(self.answered) - rows or len(again) > 2 * BATCH + THREADS:
            return f"{len(self.answered)} were answered, {rows} rows were written, {len(again)} answered again"
        if len(set(last.answered)) < len(last.answered):
            return "a launch answered a request twice"
        if self.answered | set(last.answered) != set(unbroken.launch.answered):
            return "other requests were answered than in the unbroken run"
        return ""


def is_final(path: Path) -> bool:
    """Whether a file of a run has its name for good, and is not the ledger."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and not path.name.startswith("run.db") and path.parts[0] != "logs"


def cards_in(run: Path) -> set[tuple[str, str]]:
    """What the ledger says is finished, read from a copy: no reader may mend what the next launch has to."""
    aside = run.with_name("aside")
    aside.mkdir()
    for path in run.glob("run.db*"):
        shutil.copy(path, aside)
    ledger = Ledger.create_or_open(aside / "run.db")
    cards = set(ledger.cards())
    ledger.close()
    return cards


def wait_for_death(pid: int) -> None:
    """Until the process is gone, or a zombie that holds nothing any more."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.01)
