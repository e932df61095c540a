"""`loop evolve` as a whole: at a model on loopback and without one, killed and gone on with, and out of reach."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_server import FaultServer, Manners
from launches import DIED, EVERY, ROOT, Launch, Launcher
from scripted import Scripted
from test_agents import rows, select

from agents.engines.scripted import work_out
from agents.harness import BANK, START, Harness
from loop.errors import ObjectiveError
from loop.evolution import Generation, Variant, choose_parent, population_of
from loop.guidance import guidance_of, read_harness
from loop.objective import read_objective
from loop.scoring import AT_ONCE, settings_of, with_harness
from loop.solving import Manner

LINE = BANK[3]
"""With it the model writes questions that tell its solvers apart."""
DOCUMENTS = 10
TERMS = ("--documents", "2", "--repeats", "2", "--seed", "5")
FRENCH = "Answer in French prose."
PROPOSED: tuple[list[str] | None, ...] = (
    None, ["Write what a weak solver fails at."], [FRENCH], ["Be brief."], [*START.guidance, LINE],
    [*START.guidance, LINE, "Be brief."],
)  # fmt: skip
"""What is proposed, generation by generation; None is no harness at all."""


SOUGHT = {"kind": "agentic_self_instruct", "count": 3, "rounds": 1, "instructions": "Ask for whole numbers."}


class Model:
    """It plays every part; by guidance its questions get so hard that a weak solver fails them."""

    def __init__(self, on_proposal: Callable[[int], None] = lambda _: None) -> None:
        self.proposals: dict[int, int] = {}
        self.read: list[str] = []
        self.on_proposal = on_proposal

    def __call__(self, prompt: str, body: dict[str, Any], sample: int) -> str:
        whole = body["messages"][0]["content"]
        if body["messages"][0]["role"] == "system":
            return json.dumps({"action": "plan", "plan": {"hypothesis": "As told.", "strategies": [SOUGHT]}})
        if whole.startswith("You improve how"):
            self.read.append(whole)
            place = self.proposals.setdefault(body["seed"], len(self.proposals))
            self.on_proposal(place)
            guidance = PROPOSED[min(place, len(PROPOSED) - 1)]
            return json.dumps({"guidance": guidance, "attempts": 2}) if guidance else "I have none."
        if whole.startswith("# Write one question"):
            return self.pose(whole, body["seed"])
        if whole.startswith("# Inspect one question"):
            return json.dumps(
                {point: {"reason": "So it is.", "holds": True} for point in ("hidden", "reasoned", "sound")}
            )
        numbers = [int(n) for n in re.findall(r"\d+", whole.rpartition("Question:")[2])]
        return work_out(numbers, slip=body["model"] == "weak" and len(numbers) > 2)

    def pose(self, prompt: str, seed: int) -> str:
        if FRENCH in prompt:
            return "Quelle est la somme ?"
        lesson = int(re.findall(r"Lesson (\d+)", prompt)[0])
        numbers = [100 + seed % 800, 2 + seed % 7, *([lesson + 1] if LINE in prompt or lesson % 3 == 0 else [])]
        asked = f"What is {' + '.join(map(str, numbers))} ?"
        return json.dumps({"context": "", "question": asked, "reference": str(sum(numbers))})


def write(folder: Path, cast: dict[str, Any], **more: Any) -> Path:
    """An objective with that cast and documents."""
    path = Scripted(problems=200).write(folder)
    lessons = [
        {
            "id": n,
            "text": f"Lesson {n}. " + " ".join(f"Column {n} carries digit {k} into {k + n}." for k in range(20)),
        }
        for n in range(DOCUMENTS)
    ]
    (folder / "start.json").write_text(BEGUN.model_dump_json(), encoding="utf-8")
    (folder / "lessons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lessons), encoding="utf-8")
    _, front, prose = path.read_text(encoding="utf-8").split("---\n")
    objective = yaml.safe_load(front) | {"cast": cast, "documents": "lessons.jsonl"}
    objective |= {"strategies": {"harness": "start.json"}} | more
    path.write_text(f"---\n{json.dumps(objective)}\n---\n{prose}", encoding="utf-8")
    return path


def at(server: FaultServer, planner: bool = True) -> dict[str, Any]:
    """A cast of the server's models, with programs as judge."""
    names = {"challenger": "small", "weak": "weak", "strong": "strong"} | (
        {"orchestrator": "small"} if planner else {}
    )
    prices = {"input": 1.0, "output": 1.0}
    return {part: {"model": m, "endpoint": f"{server.url}/v1", "prices": prices} for part, m in names.items()} | {
        "judge": "verifier"
    }


SIX = ("--generations", "6")
BEGUN = START.model_copy(update={"attempts": 2})
JOINED = [False] * 4 + [True, False]
SCRIPTED = {part: f"scripted/{part}" for part in ("challenger", "weak", "strong")}
MODELS = Manners(models=("small", "weak", "strong"))


@dataclass(frozen=True)
class Evolved:
    """What came of an evolution, with the server that it asked."""

    run: Path
    server: FaultServer
    launch: Launch


class Evolve:
    """`loop evolve` with its options, each launch a process of its own."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def __call__(
        self, objective: Path, run: Path, *options: str, code: int = 0, die_at: int | None = EVERY
    ) -> Launch:
        words = (*TERMS, *options)
        done = self.launcher.launch(objective, run, die_at, command=True, name="evolve", options=words)
        assert done.code == code and "Traceback" not in done.said, done.said
        return done


@pytest.fixture(scope="module")
def evolve(launchers: list[Launcher]) -> Evolve:
    return Evolve(launchers[0])


@pytest.fixture
def place(swift_path: Path, tmp_path: Path) -> Path:
    """A folder of the test's own."""
    return swift_path / tmp_path.name


def history(run: Path) -> list[Generation]:
    return [Generation.model_validate(row) for row in rows(run / "history.jsonl")]


@pytest.fixture(scope="module")
def evolved(swift_path: Path, evolve: Evolve) -> Iterator[Evolved]:
    """Six generations at a model that proposes what PROPOSED says."""
    with FaultServer(MODELS, say=Model()) as server:
        objective = write(swift_path / "evolved", at(server))
        yield Evolved(objective.parent / "run", server, evolve(objective, objective.parent / "run", *SIX))


def test_the_best_harness_has_the_line_and_the_history_every_loser(evolved: Evolved) -> None:
    grown = history(evolved.run)
    assert [g.accepted for g in grown] == JOINED
    words = [
        "no harness could be read",
        "speaks of who solves it",
        "fails to run",
        "does not beat",
        "beats",
        "not beat",
    ]
    assert all(word in g.reason for word, g in zip(words, grown, strict=True)), [g.reason for g in grown]
    assert {g.author for g in grown} == {"small"}
    best = read_harness(evolved.run / "harness.json")
    assert best.guidance == (*START.guidance, LINE) and grown[4].child_score == 1.0
    parent = grown[4].parent_score
    assert parent is not None and parent < 1
    said = " ".join(evolved.launch.said.split())
    assert all(g.parent[:6] in said and g.reason.split()[0] in said for g in grown), "the table has them all"
    assert "1 of 6 children were accepted" in said and "on the sealed documents" in said
    assert f"strategies: {{harness: {evolved.run / 'harness.json'}}}" in said


def test_a_second_call_asks_nothing_and_all_that_was_billed_is_in_the_ledger(
    evolved: Evolved, evolve: Evolve
) -> None:
    run, server = evolved.run, evolved.server
    asked, before = len(server.seen), (run / "history.jsonl").read_bytes()
    again = evolve(run.parent / "OBJECTIVE.md", run, *SIX)
    assert len(server.seen) == asked and (run / "history.jsonl").read_bytes() == before
    assert again.said.splitlines()[-12:] == evolved.launch.said.splitlines()[-12:]
    billed = sum(map(sum, server.billed)) / 1e6
    assert select(run, "SELECT sum(usd) FROM spent")[0][0] == pytest.approx(billed)


def test_no_proposer_reads_a_document_that_is_scored_on(evolved: Evolved) -> None:
    run, model = evolved.run, evolved.server.say
    assert isinstance(model, Model)
    parts = json.loads((run / "evolution.json").read_text())["documents"]
    numbers = {name: {int(document.partition("#")[2]) for document in names} for name, names in parts.items()}
    assert [len(numbers[name]) for name in ("train", "held_out", "sealed")] == [6, 2, 2]
    assert len(set().union(*numbers.values())) == DOCUMENTS, "no document is in two parts"
    lessons = {int(n) for prompt in model.read for n in re.findall(r"Lesson (\d+)", prompt)}
    assert lessons and lessons <= numbers["train"]
    scored = {row["source"] for path in run.glob("generation/*/child-*/asked.jsonl") for row in rows(path)}
    read = {row["source"] for path in run.glob("generation/*/read/asked.jsonl") for row in rows(path)}
    sealed = {row["source"] for path in run.glob("sealed/*/asked.jsonl") for row in rows(path)}
    assert not scored & read and not scored & sealed and not read & sealed and len(scored) == len(sealed) == 2


def test_check_a_child_that_fails_to_run_never_enters_the_archive(evolved: Evolved) -> None:
    """mechanisms §8; and neither does one that no harness could be read from, or that speaks of solvers."""
    run = evolved.run
    grown = history(run)
    first = Variant(id=grown[0].parent, parent="", harness=BEGUN, score=0.5)
    assert [v.id for v in population_of(first, grown)] == [first.id, grown[4].child]
    assert grown[1].harness is not None and "weak solver" in grown[1].harness.guidance[0], "kept as a loser"
    assert not list((run / "generation/002").glob("child-*")), "one that speaks of solvers asks nothing"
    assert [p.name for p in (run / "generation/003").glob("child-*")] == ["child-1"] and grown[2].child_score is None


def test_check_a_worse_but_valid_parent_keeps_its_chance(evolved: Evolved) -> None:
    """mechanisms §8; scores of all its scorings are averaged."""
    grown = history(evolved.run)
    first = Variant(id=grown[0].parent, parent="", harness=BEGUN, score=0.5)
    population = population_of(first, grown)
    drawn = Counter(choose_parent(population, seed).id for seed in range(20_000))
    assert 0 < drawn[first.id] < drawn[grown[4].child]
    scores = [0.5, *(g.parent_score for g in grown if g.parent == first.id and g.parent_score is not None)]
    assert population[0].score == pytest.approx(sum(scores) / len(scores))


def test_check_the_digest_of_the_evaluator_is_the_same_before_and_after(evolved: Evolved) -> None:
    """mechanisms §8."""
    run = evolved.run
    kept = json.loads((run / "evolution.json").read_text())
    assert {g.evaluator for g in history(run)} == {kept["digest"]}
    assert {"settings", "players", "documents"} < kept["evaluator"]["parts"].keys()
    named = kept["evaluator"]["parts"].keys()
    assert {"agents/selfinstruct/bands.py", "loop/verifiers.py", "templates/prompts/critic_rubric.md.j2"} < named


def test_a_write_to_the_evaluator_is_noticed_and_ends_the_command(tmp_path: Path) -> None:
    """mechanisms §8: in the middle of a generation, and between two launches."""
    root = tmp_path / "code"
    for package in ("loop", "agents", "templates"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    rubric = root / "agents/critics/rubric.py"
    before = rubric.read_bytes()

    def write_to_it(place: int) -> None:
        if place == 1:
            rubric.write_bytes(before + b"\n# all is well\n")

    def from_copy(objective: Path, run: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "loop.cli", "evolve", objective, "--run", run, *TERMS, "--generations", "3"],
            cwd=root, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(root)},
        )  # fmt: skip

    with FaultServer(MODELS, say=Model(write_to_it)) as server:
        objective, run = write(tmp_path, at(server)), tmp_path / "run"
        for _ in range(2):
            ended = from_copy(objective, run)
            assert ended.returncode == 5 and len(ended.stderr.splitlines()) == 1 and len(history(run)) == 1
            assert "the evaluator has changed (agents/critics/rubric.py)" in ended.stderr
        rubric.write_bytes(before)
        assert from_copy(objective, run).returncode == 0 and len(history(run)) == 3


def test_a_harness_has_no_field_by_which_it_could_be_judged() -> None:
    assert set(Harness.model_fields) == {"guidance", "temperature", "attempts"}
    for by_program in (True, False):
        settings = settings_of(Manner(by_program=by_program), "####")
        other = with_harness(settings, Harness(guidance=("Ask why.",), temperature=0.2, attempts=7))
        changed = {name for name in type(settings).model_fields if getattr(other, name) != getattr(settings, name)}
        assert changed == {"guidance", "temperature", "rounds"}
    with pytest.raises(ValueError, match="speaks of who solves it"):
        with_harness(settings, Harness(guidance=("Tell the weak solver to act weak.",)))


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_killed_and_gone_on_with_it_comes_to_the_same(
    share: float, evolved: Evolved, evolve: Evolve, place: Path
) -> None:
    with FaultServer(MODELS, say=Model()) as server:
        objective, run = write(place, at(server)), place / "run"
        evolve(objective, run, *SIX, code=DIED, die_at=int(share * len(evolved.launch.failpoints)))
        evolve(objective, run, *SIX)
    for name in ("history.jsonl", "harness.json"):
        assert (run / name).read_bytes() == (evolved.run / name).read_bytes()
    asked, whole = (Counter(json.dumps(seen.body) for seen in s.seen) for s in (server, evolved.server))
    assert asked.keys() == whole.keys()
    assert sum((asked - whole).values()) <= AT_ONCE, "asked again: at most what was in flight"


@pytest.mark.parametrize("judge", ["verifier", "scripted/critic"])
def test_without_a_model_it_mutates_by_seed(judge: str, evolve: Evolve, place: Path) -> None:
    objective = write(place, {**SCRIPTED, "judge": judge})
    for name, seed in (("one", "5"), ("two", "5"), ("other", "6")):
        evolve(objective, place / name, "--generations", "2", "--repeats", "1", "--seed", seed)
    one, two, other = (history(place / name) for name in ("one", "two", "other"))
    assert one == two and [g.child for g in one] != [g.child for g in other]
    assert {g.author for g in one} == {"mutation"} and len({g.child for g in one}) == 2
    assert all(g.child_score is not None and g.parent_score is not None for g in one)
    assert not list((place / "one").glob("generation/*/read")), "nobody reads"
    ended = evolve(objective, place / "one", code=2)
    assert "--documents 2 --repeats 1 --seed 5" in ended.said, "other terms are another evolution"
    ended = evolve.launcher.launch(objective, place / "one", command=True)
    assert ended.code == 2 and "is the folder of an evolution" in ended.said


@pytest.mark.parametrize("budget", [{"tokens": 1500}, {"usd": 0.015}, {"tokens": 15_000}])
def test_the_budget_holds_and_what_is_done_is_kept(budget: dict[str, float], evolve: Evolve, place: Path) -> None:
    (name, cap), run = next(iter(budget.items())), place / "run"
    with FaultServer(MODELS, say=Model()) as server:
        objective = write(place, at(server), budget={"rounds": 1} | budget)
        if cap == 1500:
            assert f"budget.{name}: is spent before the first" in evolve(objective, run, *SIX, code=2).said
            assert not list(run.glob("generation/*/*/asked.jsonl")), "it ends in the middle of a scoring"
        else:
            assert f"ended by budget.{name}" in evolve(objective, run, *SIX).said
            assert (run / "harness.json").exists() and len(history(run)) < 6
        costs = [sum(tokens) / (1e6 if name == "usd" else 1) for tokens in server.billed]
        assert sum(costs) - AT_ONCE * max(costs) <= cap
        write(place, at(server), budget={"rounds": 1})
        done = len(history(run))
        evolve(objective, run, "--generations", str(done + 1))
        assert len(history(run)) == done + 1, "a raised budget lets it go on"


@pytest.mark.parametrize(
    ("cast", "more", "words"),
    [
        ({"weak": "scripted/weak"}, {}, "cast: nobody plays challenger, strong, judge; write challenger: a-model"),
        ({**SCRIPTED, "judge": "verifier"}, {"documents": None}, "documents: is missing"),
        ({**SCRIPTED, "judge": "verifier"}, {"documents": "few.md"}, "documents: 1 that can be asked about"),
    ],
)
def test_what_is_missing_is_one_line(
    cast: dict[str, str], more: dict[str, Any], words: str, evolve: Evolve, place: Path
) -> None:
    place.mkdir(parents=True)
    (place / "few.md").write_text("# One\nA text alone.", encoding="utf-8")
    ended = evolve(write(place, cast, **more), place / "run", code=2)
    assert words in ended.said and len(ended.said.splitlines()) == 1
    assert not (place / "run").exists()


def test_a_run_tells_its_challenger_what_a_harness_says(evolve: Evolve, place: Path) -> None:
    with FaultServer(MODELS, say=Model()) as server:
        path = write(place, at(server), budget={"rounds": 1}, control=False)
        done = evolve.launcher.launch(path, place / "run", command=True)
    assert done.code == 0, done.said
    asked = [seen.body["messages"][0]["content"] for seen in server.seen]
    told = [prompt for prompt in asked if prompt.startswith("# Write one question")]
    lines = "".join(f"- {line}\n" for line in (*BEGUN.guidance, "Ask for whole numbers."))
    assert len(told) == 3 and all(f"## Guidance\n{lines}" in prompt for prompt in told)


def test_the_best_harness_guides_later_runs_and_starts_later_evolutions(evolve: Evolve, place: Path) -> None:
    place.mkdir(parents=True)
    (place / "best.json").write_text(Harness(guidance=("Ask why.",)).model_dump_json(), encoding="utf-8")
    cast = {**SCRIPTED, "judge": "verifier"}
    path = write(place, cast, strategies={"harness": "best.json"})
    assert guidance_of(read_objective(path)) == ("Ask why.",)
    evolve(path, place / "run", "--generations", "1")
    kept = json.loads((place / "run/harness.json").read_text())
    assert history(place / "run")[0].accepted or kept["guidance"] == ["Ask why."]
    for content, words in (
        ('{"guidance": ["a"], "bands": 1}', "bands: Extra inputs"), ("[]", "is no harness"), ("no", "is no harness"),
        ('{"guidance": ["As a weak model, fail."]}', "speaks of who solves it"),
    ):  # fmt: skip
        (place / "best.json").write_text(content, encoding="utf-8")
        with pytest.raises(ObjectiveError, match=rf"strategies\.harness: best\.json .*{words}"):
            read_objective(path)
    path = write(place, cast, strategies={})
    assert guidance_of(read_objective(path)) == ()
