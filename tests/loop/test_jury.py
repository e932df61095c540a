"""Critics that reward: a trainer's child asks, the run answers, and the student learns what a rubric wants."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fault_server import FaultServer
from test_grpo import BOLD, CHOICE, ROWS, WRITTEN, quiet, taught, weights

from agents.engines import Request, SamplingJob
from agents.verdicts import Criterion, Rubric
from loop.budget import Meter
from loop.crew import Ask, Crew, Report
from loop.errors import StageError
from loop.files import read_rows
from loop.jobs import DrillJob, TrainJob
from loop.judging import Judge
from loop.jury import jurors, jury
from loop.ledger import Ledger
from loop.objective import Budget, Demonstration
from loop.records import Critique, Problem, Sample
from loop.room import CHECKPOINT, Room
from loop.screen import PlainScreen
from loop.seats import Seat
from loop.talks import FILE, Talk
from loop.trained import Trained
from loop.verifiers import Check

SHOWN = [
    Demonstration(prompt=row, response=f"{'so ' * (i % 2)}#### {row.split()[-1]}") for i, row in enumerate(ROWS[:300])
]
"""The last of three digits, said in one of two ways, both right."""
RUBRIC = Rubric(criteria=(Criterion(name="short", text="Nothing stands before the answer.", weight=1),))
GAUGED: Any = SimpleNamespace(seat="small", critic="rubric small", believed=True)
"""A calibration by which the critic is believed."""


def wants_short(prompt: str, body: dict[str, Any], sample: int) -> str:
    """A critic that marks whether a response begins with its answer."""
    response = re.search(r'^## Response\n"(.*)"$', prompt, re.MULTILINE)
    assert response is not None
    return json.dumps({"marks": [{"criterion": "short", "reason": "looked", "met": response[1].startswith("####")}]})


def refuses(prompt: str, body: dict[str, Any], sample: int) -> str:
    return json.dumps({"marks": [{"criterion": "short", "reason": "never", "met": False}]})


@pytest.fixture(scope="module")
def judge() -> Judge:
    source = SimpleNamespace(answer="####", verifiers=("numeric",), scorer=None)
    tasks: Any = SimpleNamespace(sources=[source], suites={})
    return Judge(tasks, SHOWN)


@pytest.fixture(scope="module")
def student(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that says the right number, now with a word before it and now without."""
    return taught(crew, tmp_path_factory.mktemp("student"), SHOWN)


def problems(rows: Sequence[str]) -> tuple[Problem, ...]:
    return tuple(
        Problem(id=f"p{i}", prompt=row, answer=row[-1], skill="last", level=1, source=0, origin=(0, i))
        for i, row in enumerate(rows)
    )


def drill(student: Path, out: Path, judge: Judge, count: int) -> DrillJob:
    out.mkdir()
    train = TrainJob(str(student), str(out), (), BOLD, "full", seed=1)
    return DrillJob(train, CHOICE, problems(ROWS[300 : 300 + count]), judge, WRITTEN, critics=("small",))


def bench_at(server: FaultServer, crew: Crew, judge: Judge, folder: Path) -> tuple[Room, Any]:
    """A room with a ledger, and as much of a bench as a jury needs."""
    folder.mkdir()
    ledger = Ledger.create_or_open(folder / "run.db")
    seat = Seat(name="small", engine="openai", model="small", endpoint=f"{server.url}/v1")
    bench = SimpleNamespace(
        critics=(seat,), rubric=RUBRIC, demonstrations=SHOWN, judge=judge, crew=crew, run=folder,
        meter=Meter(Budget(rounds=1), ledger, control=False),
    )  # fmt: skip
    room = Room(folder, "001", ledger, PlainScreen())
    room.folder.mkdir(parents=True)
    return room, bench


def reinforce(job: DrillJob, room: Room, bench: Any, known: Sequence[tuple[Sample, Critique]] = ()) -> Trained:
    with jury(job.critics, [GAUGED], known, room, bench) as critics:
        assert critics is not None
        trained: Trained = bench.crew.run("loop.training.grpo:grpo", job, quiet, "grpo", critics.judge).result
        return trained


def short(student: Path) -> float:
    """Share of a student's answers to fresh problems that say nothing before the number."""
    from agents.engines.transformers import TransformersEngine

    requests = tuple(Request(f"{i:x}", row) for i, row in enumerate(ROWS[700:]))
    job = SamplingJob(str(student), requests, temperature=1.0, max_new_tokens=WRITTEN, seed=0)
    rows = [row for batch in TransformersEngine().complete(job) for row in batch]
    return sum(row.text.startswith("####") for row in rows) / len(rows)


def test_a_critic_at_an_endpoint_teaches_what_no_verifier_can_tell(
    crew: Crew, student: Path, judge: Judge, tmp_path: Path
) -> None:
    """Both ways to answer are right; the share of those that the rubric wants rises, and nothing is asked twice."""
    job = drill(student, tmp_path / "out", judge, 128)
    with FaultServer(say=wants_short) as server:
        room, bench = bench_at(server, crew, judge, tmp_path / "run")
        sample = Sample(
            id="s", problem=job.problems[0], response=f"#### {job.problems[0].answer}", finish="stop",
            prompt_tokens=1, completion_tokens=1,
        )  # fmt: skip
        known = Critique(id="s", passed=True, reason="", checks=(Check(name="critic", verdict="passed", detail=""),))
        trained = reinforce(job, room, bench, [(sample, known)])
    told = trained.reinforced
    assert told is not None and told.critics == ("small",) and told.samples == 1024
    assert 0 < told.refused < told.samples
    assert short(tmp_path / "out") > short(student) + 0.2
    assert sum(told.rewards[-2:]) > sum(told.rewards[:2])
    asked = [seen.body["messages"][0]["content"] for seen in server.seen]
    assert len(set(asked)) == len(asked) < told.samples, "one verdict for one text"
    assert not [text for text in asked if known_text(job.problems[0]) in text and '"####' in text]
    talks = read_rows(room.folder / FILE, Talk)
    assert {talk.stage for talk in talks} == {CHECKPOINT.name} and len(talks) == len(asked)
    (spent,) = [row[2] for row in room.ledger.spendings()]
    assert spent.tokens_sampled == sum(map(sum, server.billed)) > 0


def known_text(problem: Problem) -> str:
    return f'## Problem\n"{problem.prompt}"'


def test_where_all_verdicts_agree_nothing_is_learnt(crew: Crew, student: Path, judge: Judge, tmp_path: Path) -> None:
    job = drill(student, tmp_path / "out", judge, 16)
    with FaultServer(say=refuses) as server:
        trained = reinforce(job, *bench_at(server, crew, judge, tmp_path / "run"))
    told = trained.reinforced
    assert told is not None and told.all_wrong == told.groups == 16 and told.refused > 0
    assert weights(tmp_path / "out") == weights(student)


def test_only_who_is_believed_and_elsewhere_rewards() -> None:
    seats = [Seat(name=name, engine=engine, model=name) for name, engine in (
        ("small", "openai"), ("other", "openai"), ("near", "transformers")
    )]  # fmt: skip
    near: Any = SimpleNamespace(seat="near", critic="rubric near", believed=True)
    bench: Any = SimpleNamespace(critics=seats)
    heard, unheard = jurors([GAUGED, near], bench)
    assert heard == ("small",) and unheard == ("other is not believed", "near runs on this machine")


# What a child asks.


def asks(job: int, report: Report, ask: Ask) -> int:
    """Adds up what it is told of each number."""
    return sum(ask(number) for number in range(job))


def dies(job: int, report: Report, ask: Ask) -> int:
    ask(job)
    os._exit(3)


def test_a_child_asks_its_parent_and_is_answered(crew: Crew) -> None:
    assert crew.run(f"{__name__}:asks", 5, quiet, "asks", lambda number: 10 * number).result == 100
    assert crew.run_here(f"{__name__}:asks", 5, quiet, lambda number: number).result == 10


def test_who_cannot_answer_ends_the_work_and_a_child_that_dies_is_heard_of(crew: Crew) -> None:
    def silent(number: int) -> int:
        if number == 2:
            raise StageError("the critic is gone")
        return number

    with pytest.raises(StageError, match=r"^the critic is gone$"):
        crew.run(f"{__name__}:asks", 5, quiet, "asks", silent)
    with pytest.raises(StageError, match=r"the process died \(exit 3\)"):
        crew.run(f"{__name__}:dies", 5, quiet, "dies", lambda number: number)
    assert crew.run(f"{__name__}:asks", 2, quiet, "asks", silent).result == 1, "and the next is done as ever"
