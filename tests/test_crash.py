"""A scripted run is killed at every failpoint, and must end as the unbroken run does, nothing done twice or lost."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from launches import DIED, EVERY, Launch, Launcher, State, difference, state
from scripted import write_objective

from agents.engines.scripted import BATCH
from loop.ledger import Ledger

PARTS = 8
"""The failpoints are dealt to so many tests; together they are all of them."""
ENDS = ("plan", "mix", "ledger")
"""Where tokens run out in round 1, by its last finished stage: as it samples, before it trains, as it closes."""
SMALL = {"problems": 30, "demos": 14, "dev": 8, "test": 4, "more": "cast: {orchestrator: uniform}\n"}
"""An objective whose plans do not look at the budget, so that it runs out anywhere."""
TWICE = 20
"""Crashes during which the recovery is killed too."""


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing happens to."""

    objective: Path
    launch: Launch
    state: State

    @cached_property
    def answered(self) -> set[tuple[str, str]]:
        return set(self.launch.answered)


def play_unbroken(folder: Path, launcher: Launcher, **choices: object) -> Unbroken:
    objective = write_objective(folder, **choices)
    launch = launcher.launch(objective, folder / "unbroken")
    assert launch.code == 0, launch.said
    return Unbroken(objective, launch, state(folder / "unbroken"))


@pytest.fixture(scope="module")
def unbroken(swift_path: Path, launchers: list[Launcher]) -> Unbroken:
    return play_unbroken(swift_path / "plain", launchers[0])


@pytest.fixture(scope="module")
def short(swift_path: Path, launchers: list[Launcher]) -> dict[str, Unbroken]:
    """Runs whose tokens run out, by the last stage of round 1 that is finished then."""
    found: dict[str, Unbroken] = {}
    for tokens in range(1000, 9000, 100):
        folder = swift_path / str(tokens)
        run = play_unbroken(folder, launchers[0], budget=f"rounds: 2, tokens: {tokens}", **SMALL)
        stages = [name.partition("/")[2] for name in run.state["card"] if name.startswith("001/")]
        if stages and "2" not in run.state["round"]:
            found.setdefault(stages[-1], run)
        if set(ENDS) <= set(found):
            break
    return found


# The proof.


@pytest.mark.parametrize("part", range(PARTS))
def test_death_at_every_failpoint(part: int, unbroken: Unbroken, launchers: list[Launcher]) -> None:
    every = range(1, len(unbroken.launch.failpoints) + 1)
    check_deaths(unbroken, launchers, [(k,) for k in every[part::PARTS]])


@pytest.mark.parametrize("end", ENDS)
def test_death_at_every_failpoint_short_of_tokens(
    end: str, short: dict[str, Unbroken], launchers: list[Launcher]
) -> None:
    run = short[end]
    assert json.loads(run.state["fact"]["ended"][0]) == "tokens"
    check_deaths(run, launchers, [(k,) for k in range(1, len(run.launch.failpoints) + 1)])


def test_death_during_recovery(unbroken: Unbroken, launchers: list[Launcher]) -> None:
    luck = random.Random(0)
    every = range(1, len(unbroken.launch.failpoints) + 1)
    check_deaths(unbroken, launchers, [(k, luck.randint(1, 12)) for k in luck.sample(every, TWICE)])


def check_deaths(
    unbroken: Unbroken, launchers: Sequence[Launcher], deaths: Sequence[tuple[int, ...]], by: int | None = None
) -> None:
    """Crash and recover, two at a time; stop at the first run that does not end as it should."""

    def end(death: tuple[int, ...]) -> str:
        turn = launchers[:: 1 if death[0] % 2 else -1]
        return crash(unbroken, turn, death, by)

    with ThreadPoolExecutor(len(launchers)) as pool:
        for death, wrong in zip(deaths, pool.map(end, deaths), strict=True):
            if wrong:
                pool.shutdown(cancel_futures=True)
                where = unbroken.launch.failpoints[death[0] - 1]
                pytest.fail(f"killed at failpoint {death} ({where}): {wrong}")


def crash(unbroken: Unbroken, launchers: Sequence[Launcher], deaths: Sequence[int], by: int | None = None) -> str:
    """Play the run, dying at each of the failpoints in turn, then to its end; what is not as it should be, or ""."""
    run = unbroken.objective.parent / f"{'-'.join(map(str, deaths))}{'' if by is None else f'-{by}'}" / "run"
    run.parent.mkdir()
    launches = [
        launchers[i % len(launchers)].launch(unbroken.objective, run, nth, by) for i, nth in enumerate(deaths)
    ]
    """The last death's leavings are looked at; those before it are covered by tests of one death."""
    left = Remains.of(run, launches)
    last = launchers[len(deaths) % len(launchers)].launch(unbroken.objective, run, None)
    expected = DIED if by is None else 130
    wrong = "".join(f"it ended with {x.code}, not {expected}: {x.said}" for x in launches if x.code != expected)
    wrong = wrong or (f"going on ended with {last.code}: {last.said}" if last.code else "")
    wrong = wrong or left.wrong_after(last, unbroken) or difference(state(run), unbroken.state)
    shutil.rmtree(run.parent)
    return wrong


@dataclass(frozen=True)
class Remains:
    """What a killed run leaves: nothing of it may be done again."""

    run: Path
    files: dict[Path, bytes]
    carded: set[tuple[str, str]]
    answered: list[tuple[str, str]]
    rows: int
    """Whole rows that answers stand in."""

    @classmethod
    def of(cls, run: Path, launches: Sequence[Launch]) -> Remains:
        files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        files = {p: content for p, content in files.items() if is_final(p.relative_to(run))}
        appended = [c for p, c in files.items() if p.name in ("samples.jsonl", "attempts.jsonl", "probe.jsonl")]
        answered = [pair for launch in launches for pair in launch.answered]
        rows = sum(content.count(b"\n") for content in appended)
        return cls(run, files, cards_in(run), answered, rows)

    def wrong_after(self, last: Launch, unbroken: Unbroken) -> str:
        """What the launch that went on did not keep or did again, or ""."""
        for path, content in self.files.items():
            whole = content[: content.rfind(b"\n") + 1] if path.suffix == ".jsonl" else content
            if not path.is_file() or not path.read_bytes().startswith(whole):
                return f"{path} was whole and is changed"
        if again := self.carded & set(last.stages):
            return f"finished stages were worked on again: {sorted(again)}"
        again = set(self.answered) & set(last.answered)
        if len(set(last.answered)) < len(last.answered):
            return "one launch answered a request twice"
        if len(again) != len(set(self.answered)) - self.rows or len(again) > BATCH * 2:
            return f"{len(again)} answered again, {self.rows} rows were there of {len(self.answered)} answered"
        if set(self.answered) | set(last.answered) != unbroken.answered:
            return "other requests were answered than in the unbroken run"
        return ""


def is_final(path: Path) -> bool:
    """Whether a file of a run has its final name, and is vouched for."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and not path.name.startswith("run.db") and path.parts[0] != "logs"


def cards_in(run: Path) -> set[tuple[str, str]]:
    """What the ledger says is finished, read from a copy: a reader must not mend what the next launch has to."""
    aside = run.with_name("aside")
    aside.mkdir(exist_ok=True)
    for path in run.glob("run.db*"):
        shutil.copy(path, aside)
    if not (aside / "run.db").exists():
        return set()
    ledger = Ledger.create_or_open(aside / "run.db")
    cards = set(ledger.cards())
    ledger.close()
    shutil.rmtree(aside)
    return cards
