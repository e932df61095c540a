"""lm-evaluation-harness beside our own judgement: four recorded models, and a student that was trained for this."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Manners
from launches import ROOT
from scripted import Scripted
from with_lm_eval import PYTHON, needs_lm_eval

from agents.engines.lm_eval import LmEvalJob, run_lm_eval
from examples.chain_sum.make_demonstrations import demonstrations
from loop.budget import BESIDE, Meter
from loop.crew import Crew
from loop.errors import MissingError, ObjectiveError
from loop.jobs import ConvergeJob, TrainJob
from loop.ledger import Ledger
from loop.lm_eval import Wish, evaluate_by_lm_eval
from loop.lm_eval_score import HarnessScore, Measure, compare
from loop.lm_eval_tasks import answer_pattern, write_tasks
from loop.presets import Architecture, TrainSettings
from loop.records import Problem, Spent
from loop.settings import Budget
from loop.sources import Source
from loop.verifiers import check_answer, extract_answer

SOLUTIONS = ROOT.parent / "shared" / "data" / "gsm8k_model_solutions.jsonl"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=256)
SETTINGS = TrainSettings(learning_rate=3e-3, rows_per_step=16, warmup=0.1)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOOP_HARNESS_PYTHON", PYTHON)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    if not SOLUTIONS.exists():
        pytest.skip(f"{SOLUTIONS} is not on this machine")
    return [json.loads(line) for line in SOLUTIONS.read_text(encoding="utf-8").splitlines()]


def problems_of(rows: list[dict[str, Any]]) -> list[Problem]:
    return [
        Problem(
            id=f"{number:03}", prompt=row["question"], answer=extract_answer(row["ground_truth"], "A:") or "",
            skill="gsm8k", source=0, origin=(0, number),
        )
        for number, row in enumerate(rows)
    ]  # fmt: skip


class TestRecorded:
    """The first 660 problems of GSM8K's test, and what four models of 2021 said (arXiv 2110.14168)."""

    pytestmark = needs_lm_eval

    @pytest.mark.parametrize("model", MODELS)
    def test_ours_and_lm_evals_score_agree(self, model: str, recorded: list[dict[str, Any]], tmp_path: Path) -> None:
        problems = problems_of(recorded)
        said = {row["question"]: row[model]["solution"] for row in recorded}
        right = {
            p.id for p in problems if check_answer("numeric", said[p.prompt], p.answer, "A:").verdict == "passed"
        }
        labelled = {p.id for p, row in zip(problems, recorded, strict=True) if row[model]["is_correct"]}
        source = Source.model_construct(source="gsm8k", verifier=("numeric",), answer="A:")
        tasks = write_tasks("gsm8k-660", problems, {0: source}, 400, tmp_path)
        with FaultServer(Manners(models=(model,)), say=lambda prompt, body, sample: said[prompt]) as server:
            job = LmEvalJob(
                f"{server.url}/v1", model, tuple(tasks), (str(tmp_path),), defaults=False, tokenizer=False
            )
            found = run_lm_eval(job, tmp_path)
        score = compare(as_score(found.measures), found.rows, tuple(right))
        assert score.ours and score.theirs and (score.ours.n, len(server.seen)) == (660, 11)
        assert score.theirs.score == pytest.approx(score.measures[0].score)
        shares = {"labels": len(labelled) / 660, "ours": score.ours.score, "lm-eval": score.theirs.score}
        print(f"{model}: " + ", ".join(f"{name} {share:.4f}" for name, share in shares.items()))
        for name in score.differing:
            problem = problems[int(name)]
            print(f"  {name}: {extract_answer(said[problem.prompt], 'A:')!r} for {problem.answer!r}")
        assert right == labelled and score.agrees
        assert len(score.differing) <= 3


def as_score(measures: Any) -> HarnessScore:
    found = tuple(Measure(**measure) for measure in measures)
    return HarnessScore(task="gsm8k", round=0, checkpoint="", version="", shots=0, limit=None, measures=found)


def test_the_answer_is_found_where_we_find_it(recorded: list[dict[str, Any]]) -> None:
    texts = [row[model]["solution"] for row in recorded for model in MODELS]
    for where, made in {"A:": "{}", "boxed": r"\boxed{{1}} \boxed{{{}}}", "tags": "<answer> {}\n</answer>"}.items():
        pattern = re.compile(answer_pattern(where, is_number=False))
        for text in texts[::7] if where == "A:" else ("12", "x + 1"):
            response = made.format(text)
            found = extract_answer(response, where)
            assert [group.strip() for group in pattern.findall(response)] == ([found] if found else [])


OBJECTIVE = """---
student: student
tasks:
  practice:
    - source: reasoning_gym/chain_sum
      config: {min_digits: 1, max_digits: 1}
      sweep: {terms: [2, 2]}
  dev: {from: practice, size: 40}
  test: {from: practice, size: 20}
goal: 0.05
control: false
budget: {rounds: 1}
---
# Sums
Add and subtract one-digit numbers.
"""
CHOICES = """
task: which
dataset_path: json
dataset_kwargs: {data_files: {test: nowhere.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: right
target_delimiter: "\\n"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def loop(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "loop.cli", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("place")
    rows = demonstrations({2: 150}, seed=3)
    (place / "OBJECTIVE.md").write_text(OBJECTIVE, encoding="utf-8")
    (place / "student").mkdir()
    crew = Crew(place / "logs", lambda: None)
    crew.warm()
    pairs = tuple((str(row["prompt"]), str(row["response"])) for row in rows)
    train = TrainJob("", str(place / "student"), tuple((*p, 1) for p in pairs[20:]), SETTINGS, "full", seed=0)
    converge = ConvergeJob(train, SHAPE, pairs[:20], "####", 40, cycle=80, max_cycles=2)
    crew.run("loop.training.convergence:converge", converge, lambda *_: None, "converge")
    ended = loop(place, "run", "--run", "run")
    assert ended.returncode == 0, ended.stderr
    yield place


class TestStudent:
    """A tiny student that adds a little, and a run that is over after round 0: it has reached its goal."""

    pytestmark = needs_lm_eval

    def test_its_exams_are_scored_as_we_score_them(self, place: Path) -> None:
        before = loop(place, "status", "run", "--json").stdout
        ended = loop(place, "evaluate", "run", "--task", "dev", "--task", "test", "--json")
        assert ended.returncode == 0, ended.stderr
        dev, test = json.loads(ended.stdout)
        known = json.loads(before)["rounds"][0]
        assert dev["ours"]["score"] == known["dev"]["score"] > 0.05, "a family on which it does not score 0"
        assert test["ours"]["score"] == known["test"]["score"]
        assert (
            dev["agrees"] and test["agrees"] and not dev["differing"] and dev["measures"][0]["n"] == dev["ours"]["n"]
        )
        assert loop(place, "status", "run", "--json").stdout == before, "the rounds are as they were"
        again = loop(place, "evaluate", "run", "--task", "dev", "--json")
        assert json.loads(again.stdout) == [dev] and "serving" not in again.stderr, "not done twice"
        spent = {room: cost for room, _, cost, _, _ in Ledger.read(place / "run" / "run.db").spendings()}
        rooms = [room for room in spent if room.startswith(BESIDE)]
        assert len(rooms) == 2 and all(spent[room].tokens_sampled > 100 and spent[room].flops for room in rooms)
        assert loop(place, "report", "run").returncode == 0
        assert "By lm-evaluation-harness" in (place / "run" / "report.html").read_text(encoding="utf-8")

    def test_what_it_finds_likelier_is_what_the_model_says(self, place: Path) -> None:
        """A task with choices, of a folder with --include, on a local file with --data."""
        rows = [
            {"prompt": f"{a} + {b} =", "choices": [f"{a} + {b} = {c}" for c in (a + b, a - b, a * b)], "right": 0}
            for a in range(3, 7)
            for b in range(3, 6)
        ]
        (place / "tasks").mkdir()
        (place / "tasks" / "which.yaml").write_text(CHOICES, encoding="utf-8")
        (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        asked = ("evaluate", "run", "--task", "which", "--include", "tasks", "--json")
        refused = loop(place, *asked)
        assert refused.returncode == 3 and "--data SPLIT=FILE" in refused.stderr and "nowhere.jsonl" in refused.stderr
        ended = loop(place, *asked, "--data", "test=rows.jsonl")
        assert ended.returncode == 0, ended.stderr
        (score,) = json.loads(ended.stdout)
        room = next((place / "run" / "harness").glob("000-which-*/rows.jsonl"))
        told = [json.loads(line) for line in room.read_text(encoding="utf-8").splitlines()]
        weights = [[float(answer[0][0]) for answer in row["answers"]] for row in told]
        expected = weigh(place / "run" / "rounds" / "000" / "checkpoint", rows)
        for found, known in zip(weights, expected, strict=True):
            assert found == pytest.approx(known, abs=1e-3)
        share = sum(max(row) == row[0] for row in expected) / len(rows)
        assert score["measures"][0]["score"] == pytest.approx(share) and score["ours"] is None

    def test_a_task_that_there_is_not(self, place: Path) -> None:
        ended = loop(place, "evaluate", "run", "--task", "gsm8kk")
        assert ended.returncode == 2 and "did you mean" in ended.stderr and len(ended.stderr.splitlines()) <= 2


def weigh(folder: Path, rows: list[dict[str, Any]]) -> list[list[float]]:
    import torch

    from agents.engines.transformers import load_student

    model, tokenizer = load_student(str(folder))
    found = []
    for row in rows:
        found.append([])
        for choice in row["choices"]:
            prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
            whole = tokenizer(row["prompt"] + "\n" + choice, add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(dim=-1)
            found[-1].append(sum(float(logits[n - 1, whole[n]]) for n in range(len(prompt), len(whole))))
    return found


# What needs no lm-eval.


def test_without_lm_eval_the_error_names_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOP_HARNESS_PYTHON", "/no/such/python")
    Scripted("rounds: 1").write(tmp_path)
    assert loop(tmp_path, "run", "--run", "run").returncode == 0
    ended = loop(tmp_path, "evaluate", "run", "--task", "gsm8k")
    words = r"/no/such/python cannot be run.*pip install 'loop-train\[harness\]'"
    assert ended.returncode == 3 and re.fullmatch(f"loop: .*{words}.*\n", ended.stderr), ended.stderr


def test_what_cannot_be_asked_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Ledger.create_or_open(tmp_path / "run" / "run.db").close()
    for wish, error, words in (
        (Wish("gsm8k", include=(tmp_path / "nowhere",)), ObjectiveError, "--include .*nowhere: is no folder"),
        (Wish("gsm8k", data_files={"test": tmp_path}), ObjectiveError, "--data test=.* is no file"),
        (Wish("dev", shots=2), ObjectiveError, "is the run's own exam"),
        (Wish("gsm8k", round=7), MissingError, "round 7: no student"),
    ):
        with pytest.raises(error, match=words):
            evaluate_by_lm_eval(tmp_path / "run", [wish], print)


def test_no_limit_is_on_what_is_asked_for_beside(tmp_path: Path) -> None:
    ledger = Ledger.create_or_open(tmp_path / "run.db")
    meter = Meter(Budget(rounds=3, tokens=1000), ledger, control=False)
    ledger.spend("001", "sample", Spent(tokens_sampled=300))
    left = meter.left()
    ledger.spend(f"{BESIDE}001-gsm8k-0", "harness", Spent(tokens_sampled=5000))
    assert meter.left() == left and left.tokens == 700 and ledger.spent().tokens_sampled == 5300
    ledger.close()
