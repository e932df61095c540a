"""What an orchestrator that is a model may see of a run: practice and counts, and of the exams nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.briefs import CellBrief, PlanBrief
from agents.looking import Costs, Demonstrations, Failures, Samples, Scores
from agents.orchestrator import ModelOrchestrator
from agents.replies import Diagnosis, FailureMode
from agents.talk import Answer, Question
from loop.looking import RunLibrary
from loop.objective import read_objective
from loop.plan import round_brief
from loop.records import Admission, Critique, Problem, Sample
from loop.room import ADMISSIONS, CRITIQUES, DIAGNOSIS, PLAN, PROBE, ROUND, SAMPLES
from loop.rounds import Round
from loop.run import Run, open_run
from loop.runner import go

OBJECTIVE = """---
student: scripted/learner
demonstrations: demos.jsonl
tasks:
  practice: [{source: practice.jsonl, verifier: [numeric, equations]}]
  dev: [{source: dev.jsonl, verifier: numeric}]
  test: [{source: test.jsonl, verifier: numeric}]
budget: {rounds: 2}
---
# Sums
Add.
"""
CANARY = "zqxcanary"


class Quiet:
    """A screen that nobody looks at."""

    def stage(self, room: str, stage: str) -> None: ...

    def progress(self, done: float, total: float, rate: str) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass
class Looker:
    """A model that asks for these looks, plan after plan, and keeps all that it was told."""

    looks: list[dict[str, Any]]
    told: str = ""
    model: str = "scripted/looker"

    def ask(self, question: Question) -> Answer:
        self.told += "\n".join(message.content for message in question.messages)
        plan = {"hypothesis": "h", "strategies": [{"allotments": [{"skill": "sum", "level": 2, "problems": 1}]}]}
        can_look = "failures" in json.dumps(question.schema)
        turn = self.looks.pop() | {"action": "look"} if self.looks and can_look else {"action": "plan", "plan": plan}
        return Answer(json.dumps(turn), "stop", 1, 1)


def canary(name: str, number: int) -> str:
    """A problem of an exam with words of its own: long enough to be known again in another text."""
    words = " ".join(f"{CANARY}{name}{number}{letter}" for letter in "abcdefghijklmnop")
    return f"{words} : what is {number + 200} + {number + 3} ?"


def write_objective(folder: Path) -> Path:
    """Two levels to practise, demonstrations, and exams that are all canaries."""
    rows: dict[str, list[dict[str, object]]] = {"practice": [], "demos": [], "dev": [], "test": []}
    for n in range(60):
        numbers = [n + 10, 7, *([5] if n % 2 else [])]
        prompt = f"What is {' + '.join(map(str, numbers))} ?"
        row = {"prompt": prompt, "answer": str(sum(numbers)), "skill": "sum", "level": len(numbers)}
        if n < 48:
            rows["practice"].append(row)
        else:
            total = f"{numbers[0]} + 7 = {numbers[0] + 7}"
            more = f"\n{numbers[0] + 7} + 5 = {sum(numbers)}" if n % 2 else ""
            response = {"response": f"{total}{more}\n#### {sum(numbers)}"}
            rows["demos"].append({k: v for k, v in row.items() if k != "answer"} | response)
    for name in ("dev", "test"):
        rows[name] = [
            {"prompt": canary(name, n), "answer": str(2 * n + 203), "skill": "sum", "level": 2} for n in range(8)
        ]
    folder.mkdir()
    for name, found in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    (folder / "OBJECTIVE.md").write_text(OBJECTIVE, encoding="utf-8")
    return folder / "OBJECTIVE.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of two rounds, finished; then a third round by hand, in whose rows a problem of dev stands."""
    home = tmp_path_factory.mktemp("looking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOP_CACHE", str(home / "cache"))
        opened = open_run(read_objective(write_objective(home / "objective")), home / "run", Quiet())
        go(opened)
    plant(opened)
    for path in [*opened.folder.rglob("attempts.jsonl"), *opened.folder.rglob("evaluation.json")]:
        path.unlink()
    shutil.rmtree(opened.folder / "test")
    yield opened
    opened.ledger.close()


def plant(run: Run) -> None:
    """Round 3: samples and attempts that say a dev problem to the end, and one of each that does not."""
    room, stolen = run.room("003"), canary("dev", 1)
    first = run.room("001").fetch(SAMPLES)[0].problem
    copied = first.model_copy(update={"prompt": stolen, "id": "copied"})
    said: list[tuple[str, Problem, str]] = [
        ("a", first, f"{stolen}\n#### 1"), ("b", copied, "#### 2"), ("c", first, "1 + 1 = 3\n#### 3"),
    ]  # fmt: skip

    def sample(key: str, problem: Problem, response: str) -> Sample:
        return Sample(
            id=key, problem=problem, response=response, finish="stop", prompt_tokens=5, completion_tokens=6,
            strategy="rejection_sampling",
        )  # fmt: skip

    samples = [sample(*one) for one in said]
    for stage in (SAMPLES, PROBE):
        file = room.rows(stage)
        file.append(samples)
        file.close()
        room.once(stage, lambda: samples)
    passed = [
        Critique(id=s.id, passed=s.id != "c", reason="wrong answer" * (s.id == "c"), checks=()) for s in samples
    ]
    room.once(CRITIQUES, lambda: passed)
    given = Admission(id="a", reason="stands in an exam", matched=stolen, example=None)
    room.once(ADMISSIONS, lambda: [given, given.model_copy(update={"id": "b"})])
    found = Diagnosis(
        attempts=3, wrong=3, modes=tuple(mode(first.level, kind) for kind in ("wrong step", "wrong answer"))
    )
    room.once(DIAGNOSIS, lambda: found)
    room.once(PLAN, lambda: run.room("001").fetch(PLAN))
    room.once(ROUND, lambda: Round(round=3, status="discarded"))


def mode(level: Any, kind: Any) -> FailureMode:
    return FailureMode(name=f"{kind} there", kind=kind, skill="sum", level=level, count=1, share=0.5, advice="")


def library(run: Run) -> RunLibrary:
    bench = run.bench
    return RunLibrary(run.folder, run.ledger, run.screen, bench.judge, bench.exams, bench.demonstrations)


LOOK = {"action": "look"}


def test_nothing_of_an_exam_can_be_seen(run: Run) -> None:
    looks: list[dict[str, Any]] = [
        {"tool": "failures", "mode": name, "count": 20}
        for name in ("wrong step there", "wrong answer there", "../test")
    ]
    for number in range(6):
        looks += [{"tool": "scores", "round": number}, {"tool": "costs", "round": number}]
        looks += [
            {"tool": "samples", "round": number, "skill": "sum", "level": level, "count": 20, "passed": passed}
            for level in (2, 3) for passed in (True, False, None)
        ]  # fmt: skip
    looks += [{"tool": "samples", "round": 1, "skill": name} for name in ("dev", "test", "../test", "test/002-best")]
    looks += [{"tool": "demonstrations", "skill": skill, "level": 2, "count": 20} for skill in ("", "sum", "dev")]
    looker, many = Looker(looks), len(looks)
    history = tuple(
        round_brief(closed, run.room(f"{closed.round:03}").fetch(PLAN) if closed.round else None, run.ledger.spent())
        for closed in run.ledger.rounds()
    )
    brief = PlanBrief(
        objective=run.objective.text, cells=(CellBrief(skill="sum", level=2, share=1.0),), history=history,
        diagnosis=run.room("003").fetch(DIAGNOSIS),
    )  # fmt: skip
    for _ in range(many):
        assert ModelOrchestrator(looker, library(run)).plan(brief).handover == ""
    assert not looker.looks, "all was asked for"
    for shown in ("What is 1", '"response": "1 + 1 = 3', '"at": "dev"', '"best_dev_before"', "rejection_sampling"):
        assert shown in looker.told
    assert CANARY not in looker.told
    assert (run.folder / "rounds/003/samples.jsonl").read_text(encoding="utf-8").count(CANARY), "it was there to see"


def test_failures_are_those_of_the_mode_in_the_last_probe(run: Run) -> None:
    shelf = library(run)
    (row,) = shelf.failures(Failures(**LOOK, tool="failures", mode="wrong step there"))
    assert (row.response, row.first_wrong) == ("1 + 1 = 3\n#### 3", "1 + 1 = 3 (is 2)")
    assert shelf.failures(Failures(**LOOK, tool="failures", mode="no such mode")) == []


def test_samples_are_those_asked_for(run: Run) -> None:
    shelf, level = library(run), run.room("001").fetch(SAMPLES)[0].problem.level
    drawn = list(zip(run.room("001").fetch(SAMPLES), run.room("001").fetch(CRITIQUES), strict=True))
    for passed in (True, False):
        rows = shelf.samples(
            Samples(**LOOK, tool="samples", round=1, skill="sum", level=level, passed=passed, count=20)
        )
        wanted = [s.response for s, c in drawn if s.problem.level == level and c.passed == passed][:20]
        assert [row.response for row in rows] == wanted and {row.passed for row in rows} <= {passed}
    assert any(not c.passed for _, c in drawn)
    ask = Samples(**LOOK, tool="samples", round=1, skill="sum", level=level)
    assert len(shelf.samples(ask)) == 5
    for change in ({"round": 0}, {"round": 7}, {"level": None}, {"strategy": "other"}):
        assert shelf.samples(ask.model_copy(update=change)) == []


def test_scores_and_costs_are_the_ledgers(run: Run) -> None:
    shelf, closed = library(run), run.ledger.rounds()[1]
    rows = shelf.scores(Scores(**LOOK, tool="scores", round=1))
    assert {row.at for row in rows} == {"dev", "probe", "samples"}
    assert sum(row.passed for row in rows if row.at == "dev") == closed.dev.correct
    assert [r.at for r in shelf.scores(Scores(**LOOK, tool="scores", round=1, at="dev", skill="sum"))] == ["dev"]
    (cost,) = shelf.costs(Costs(**LOOK, tool="costs", round=1))
    assert (cost.samples, cost.passed, cost.admitted) == (closed.sampled, closed.passed, closed.examples)
    assert (cost.round_dev, cost.best_dev_before) == (closed.dev.score, run.ledger.rounds()[0].dev.score)
    assert cost.tokens > 0 and shelf.costs(Costs(**LOOK, tool="costs", round=9)) == []


def test_demonstrations_are_paged(run: Run) -> None:
    shelf, ours = library(run), run.bench.demonstrations
    asked = Demonstrations(**LOOK, tool="demonstrations", count=2)
    assert [row.problem for row in shelf.demonstrations(asked)] == [d.prompt for d in ours[:2]]
    later = asked.model_copy(update={"start": 2})
    assert [row.problem for row in shelf.demonstrations(later)] == [d.prompt for d in ours[2:4]]
    level = Demonstrations(**LOOK, tool="demonstrations", skill="sum", level=3, count=20)
    assert [row.problem for row in shelf.demonstrations(level)] == [d.prompt for d in ours if d.level == 3]
