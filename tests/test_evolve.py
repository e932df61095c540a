"""`loop evolve` as a whole: at a model on loopback and without one, killed and gone on with, and out of reach."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_server import FaultServer, Manners
from launches import DIED, ROOT
from scripted import Scripted
from test_agents import rows, select

from agents.engines.scripted import work_out
from agents.harness import BANK, START, Harness
from loop.errors import ObjectiveError
from loop.evolution import Generation, Variant, choose_parent, population_of
from loop.guidance import guidance_of, read_harness
from loop.objective import read_objective
from loop.scoring import settings_of, with_harness
from loop.solving import Manner

LINE = BANK[3]
"""With it the model writes questions that tell its solvers apart."""
DOCUMENTS = 14
TERMS = ("--documents", "3", "--repeats", "2", "--seed", "5")
FRENCH = "Answer in French prose."
PROPOSED: tuple[list[str] | None, ...] = (
    None, ["Write what a weak solver fails at."], [FRENCH], ["Be brief."], [*START.guidance, LINE],
    [*START.guidance, LINE, "Be brief."],
)  # fmt: skip
"""What is proposed, generation by generation; None is no harness at all."""


class Model:
    """It poses, inspects, answers and proposes; by its guidance the questions get hard enough for a weak solver."""

    def __init__(self, on_proposal: Callable[[int], None] = lambda _: None) -> None:
        self.proposals: dict[int, int] = {}
        self.read: list[str] = []
        self.on_proposal = on_proposal

    def __call__(self, prompt: str, body: dict[str, Any], sample: int) -> str:
        whole = body["messages"][0]["content"]
        if whole.startswith("You improve how"):
            self.read.append(whole)
            place = self.proposals.setdefault(body["seed"], len(self.proposals))
            self.on_proposal(place)
            guidance = PROPOSED[min(place, len(PROPOSED) - 1)]
            return json.dumps({"guidance": guidance}) if guidance else "I have none."
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
    (folder / "lessons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lessons), encoding="utf-8")
    _, front, prose = path.read_text(encoding="utf-8").split("---\n")
    objective = yaml.safe_load(front) | {"cast": cast, "documents": "lessons.jsonl"} | more
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


SCRIPTED = {part: f"scripted/{part}" for part in ("challenger", "weak", "strong")}
MODELS = Manners(models=("small", "weak", "strong"))


def evolve(
    objective: Path, run: Path, *options: str, code: int = 0, root: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """`loop evolve`, to its end."""
    environment = os.environ | {"LOOP_CACHE": str(run / "../cache"), "PYTHONPATH": str(root), "COLUMNS": "200"} | more
    done = subprocess.run(
        [sys.executable, "-m", "loop.cli", "evolve", str(objective), "--run", str(run), *TERMS, *options],
        cwd=root, capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def history(run: Path) -> list[Generation]:
    return [Generation.model_validate(row) for row in rows(run / "history.jsonl")]


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six generations at a model that proposes what PROPOSED says; then the same command once more."""
    folder = tmp_path_factory.mktemp("evolve")
    with FaultServer(MODELS, say=Model()) as server:
        objective = write(folder, at(server))
        done = evolve(objective, folder / "run", "--generations", "6")
        asked = len(server.seen)
        again = evolve(objective, folder / "run", "--generations", "6")
        yield folder, server, done, asked, again


def test_the_best_harness_has_the_line_and_the_history_every_loser(evolved: Any) -> None:
    folder, server, done, asked, again = evolved
    grown = history(folder / "run")
    assert [g.accepted for g in grown] == [False] * 4 + [True, False]
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
    best = read_harness(folder / "run" / "harness.json")
    assert best.guidance == (*START.guidance, LINE) and grown[4].child_score == 1.0
    parent = grown[4].parent_score
    assert parent is not None and parent < 1
    assert all(g.reason.split(":")[0][:20] in done.stdout for g in grown), "the table has them all"
    assert "on the sealed documents" in done.stdout and str(folder / "run" / "harness.json") in done.stdout
    assert asked < len(server.seen) + 1 and again.stdout.splitlines()[-12:] == done.stdout.splitlines()[-12:]
    assert len(server.seen) == asked, "a second call asks nothing"
    billed = sum(map(sum, server.billed)) / 1e6
    assert select(folder / "run", "SELECT sum(usd) FROM spent")[0][0] == pytest.approx(billed)


def test_no_proposer_reads_a_document_that_is_scored_on(evolved: Any) -> None:
    folder, server, *_ = evolved
    parts = json.loads((folder / "run/evolution.json").read_text())["documents"]
    numbers = {name: {int(document.partition("#")[2]) for document in names} for name, names in parts.items()}
    assert [len(numbers[name]) for name in ("train", "held_out", "sealed")] == [8, 3, 3]
    assert len(set().union(*numbers.values())) == DOCUMENTS, "no document is in two parts"
    lessons = {int(n) for prompt in server.say.read for n in re.findall(r"Lesson (\d+)", prompt)}
    assert lessons and lessons <= numbers["train"]
    scored = {
        row["source"] for path in (folder / "run").glob("generation/*/child-*/asked.jsonl") for row in rows(path)
    }
    read = {row["source"] for path in (folder / "run").glob("generation/*/read/asked.jsonl") for row in rows(path)}
    sealed = {row["source"] for path in (folder / "run").glob("sealed/*/asked.jsonl") for row in rows(path)}
    assert not scored & read and not scored & sealed and not read & sealed and len(scored) == len(sealed) == 3


def test_check_a_child_that_fails_to_run_never_enters_the_archive(evolved: Any) -> None:
    """mechanisms §8; and neither does one that no harness could be read from, or that speaks of solvers."""
    run = evolved[0] / "run"
    grown = history(run)
    first = Variant(id=grown[0].parent, parent="", harness=START, score=0.5)
    assert [v.id for v in population_of(first, grown)] == [first.id, grown[4].child]
    assert grown[1].harness is not None and "weak solver" in grown[1].harness.guidance[0], "kept as a loser"
    assert not list((run / "generation/002").glob("child-*")), "one that speaks of solvers asks nothing"
    assert [p.name for p in (run / "generation/003").glob("child-*")] == ["child-1"] and grown[2].child_score is None


def test_check_a_worse_but_valid_parent_keeps_its_chance(evolved: Any) -> None:
    """mechanisms §8; scores of all its scorings are averaged."""
    grown = history(evolved[0] / "run")
    first = Variant(id=grown[0].parent, parent="", harness=START, score=0.5)
    population = population_of(first, grown)
    drawn = Counter(choose_parent(population, seed).id for seed in range(20_000))
    assert 0 < drawn[first.id] < drawn[grown[4].child]
    scores = [0.5, *(g.parent_score for g in grown if g.parent == first.id and g.parent_score is not None)]
    assert population[0].score == pytest.approx(sum(scores) / len(scores))


def test_check_the_digest_of_the_evaluator_is_the_same_before_and_after(evolved: Any) -> None:
    """mechanisms §8."""
    run = evolved[0] / "run"
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

    with FaultServer(MODELS, say=Model(write_to_it)) as server:
        objective, run = write(tmp_path, at(server)), tmp_path / "run"
        for _ in range(2):
            ended = evolve(objective, run, "--generations", "3", code=5, root=root)
            assert "the evaluator has changed (agents/critics/rubric.py)" in ended.stderr
            assert len(ended.stderr.splitlines()) == 1 and len(history(run)) == 1
        rubric.write_bytes(before)
        evolve(objective, run, "--generations", "3", root=root)
        assert len(history(run)) == 3


def test_a_harness_has_no_field_by_which_it_could_be_judged() -> None:
    assert set(Harness.model_fields) == {"guidance", "temperature", "attempts"}
    for by_program in (True, False):
        settings = settings_of(Manner(by_program=by_program), "####")
        other = with_harness(settings, Harness(guidance=("Ask why.",), temperature=0.2, attempts=7))
        changed = {name for name in type(settings).model_fields if getattr(other, name) != getattr(settings, name)}
        assert changed == {"guidance", "temperature", "rounds"}
    with pytest.raises(ValueError, match="speaks of who solves it"):
        with_harness(settings, Harness(guidance=("Tell the weak solver to act weak.",)))


@pytest.mark.parametrize("die_at", [60, 700, 1500])
def test_killed_and_gone_on_with_it_comes_to_the_same(die_at: int, evolved: Any, tmp_path: Path) -> None:
    with FaultServer(MODELS, say=Model()) as server:
        objective, run = write(tmp_path, at(server)), tmp_path / "run"
        evolve(objective, run, "--generations", "6", code=DIED, LOOP_FAILPOINT=str(die_at))
        evolve(objective, run, "--generations", "6")
    assert (run / "history.jsonl").read_bytes() == (evolved[0] / "run/history.jsonl").read_bytes()
    assert (run / "harness.json").read_bytes() == (evolved[0] / "run/harness.json").read_bytes()
    asked = Counter(json.dumps(seen.body, sort_keys=True) for seen in server.seen)
    whole = Counter(json.dumps(seen.body, sort_keys=True) for seen in evolved[1].seen)
    assert asked.keys() == whole.keys()
    assert sum((asked - whole).values()) <= 8, "asked again: at most what was in flight"


@pytest.mark.parametrize("judge", ["verifier", "scripted/critic"])
def test_without_a_model_it_mutates_by_seed(judge: str, tmp_path: Path) -> None:
    cast = {**SCRIPTED, "judge": judge}
    objective = write(tmp_path, cast)
    for name in ("one", "two"):
        evolve(objective, tmp_path / name, "--generations", "3")
    assert (tmp_path / "one/history.jsonl").read_bytes() == (tmp_path / "two/history.jsonl").read_bytes()
    grown = history(tmp_path / "one")
    assert {g.author for g in grown} == {"mutation"} and len({g.child for g in grown}) == 3
    assert all(g.child_score is not None and g.parent_score is not None for g in grown)
    assert not list((tmp_path / "one").glob("generation/*/read")), "nobody reads"
    ended = evolve(objective, tmp_path / "one", "--seed", "6", code=2)
    assert "--documents 3 --repeats 2 --seed 5" in ended.stderr
    evolve(objective, tmp_path / "other", "--generations", "3", "--seed", "6")
    assert [g.child for g in history(tmp_path / "other")] != [g.child for g in grown]


@pytest.mark.parametrize(("budget", "done"), [({"usd": 0.0001}, -1), ({"usd": 0.006}, 0), ({"tokens": 6000}, 0)])
def test_the_budget_holds_and_what_is_done_is_kept(budget: dict[str, float], done: int, tmp_path: Path) -> None:
    name = next(iter(budget))
    with FaultServer(MODELS, say=Model()) as server:
        run = tmp_path / "run"
        objective = write(tmp_path, at(server), budget={"rounds": 1} | budget)
        ended = evolve(objective, run, "--generations", "6", code=0 if done >= 0 else 2)
        costs = [sum(tokens) / 1e6 for tokens in server.billed]
        if done < 0:
            assert f"budget.{name}: is spent before the first harness was scored" in ended.stderr
        else:
            assert f"ended by budget.{name}" in ended.stdout and (run / "harness.json").exists()
        assert name != "usd" or sum(costs) - max(costs) <= budget[name]
        write(tmp_path, at(server), budget={"rounds": 1})
        evolve(objective, run, "--generations", "6")
        assert [g.accepted for g in history(run)] == [False] * 4 + [True, False]


@pytest.mark.parametrize(
    ("cast", "more", "words"),
    [
        ({"weak": "scripted/weak"}, {}, "cast: nobody plays challenger, strong, judge; write challenger: a-model"),
        ({**SCRIPTED, "judge": "verifier"}, {"documents": None}, "documents: is missing"),
        ({**SCRIPTED, "judge": "verifier"}, {"documents": "few.md"}, "documents: 1 that can be asked about"),
    ],
)
def test_what_is_missing_is_one_line(cast: dict[str, str], more: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "few.md").write_text("# One\nA text alone.", encoding="utf-8")
    ended = evolve(write(tmp_path, cast, **more), tmp_path / "run", code=2)
    assert words in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_best_harness_guides_later_runs_and_starts_later_evolutions(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(Harness(guidance=("Ask why.",)).model_dump_json(), encoding="utf-8")
    cast = {**SCRIPTED, "judge": "verifier"}
    path = write(tmp_path, cast, strategies={"harness": "best.json"})
    assert guidance_of(read_objective(path)) == ("Ask why.",)
    evolve(path, tmp_path / "run", "--generations", "1")
    assert history(tmp_path / "run")[0].harness != START
    for content, words in (
        ('{"guidance": ["a"], "bands": 1}', "bands: Extra inputs"), ("[]", "is no harness"), ("no", "is no harness"),
        ('{"guidance": ["As a weak model, fail."]}', "speaks of who solves it"),
    ):  # fmt: skip
        (tmp_path / "best.json").write_text(content, encoding="utf-8")
        with pytest.raises(ObjectiveError, match=rf"strategies\.harness: best\.json .*{words}"):
            read_objective(path)
    path = write(tmp_path, cast)
    assert guidance_of(read_objective(path)) == ()
