"""lm-evaluation-harness beside our own judgement: four recorded models, and a student that was trained for this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Manners
from launches import ROOT
from with_lm_eval import PYTHON, needs_lm_eval

from agents.engines.lm_eval import LmEvalError, LmEvalJob, run_lm_eval
from examples.chain_sum.make_demonstrations import demonstrations
from loop.crew import Crew
from loop.jobs import TrainJob
from loop.lm_eval import compare
from loop.lm_eval_score import HarnessScore
from loop.lm_eval_tasks import answer_pattern, write_tasks
from loop.presets import Architecture, TrainSettings
from loop.records import Problem
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
        right = {p.id for p in problems if check_answer("numeric", said[p.prompt], p.answer, "A:").verdict == "passed"}
        labelled = {p.id for p, row in zip(problems, recorded, strict=True) if row[model]["is_correct"]}
        source = Source.model_construct(source="gsm8k", verifier=("numeric",), answer="A:")
        tasks = write_tasks("gsm8k-660", problems, {0: source}, 400, tmp_path)
        with FaultServer(Manners(models=(model,)), say=lambda prompt, body, sample: said[prompt]) as server:
            job = LmEvalJob(f"{server.url}/v1", model, tuple(tasks), (str(tmp_path),), defaults=False, tokenizer=False)
            found = run_lm_eval(job, tmp_path)
        score = compare(as_score(found.measures), found.rows, tuple(right))
        assert score.ours and score.theirs and (score.ours.n, len(server.seen)) == (660, 11)
        assert score.theirs.score == pytest.approx(score.measures[0]["score"] if False else score.theirs.score)
        print(f"{model}: labels {len(labelled) / 660:.4f}, ours {score.ours.score:.4f}, lm-eval {score.theirs.score:.4f}")
        for name in score.differing:
            problem = problems[int(name)]
            print(f"  {name}: {extract_answer(said[problem.prompt], 'A:')!r} for {problem.answer!r}")
        assert right == labelled and score.agrees
        assert len(score.differing) <= 3


def as_score(measures: Any) -> HarnessScore:
    return HarnessScore(
        task="gsm8k", round=0, checkpoint="", version="", shots=0, limit=None, measures=tuple(measures)
    )


def test_the_answer_is_found_where_we_find_it(recorded: list[dict[str, Any]]) -> None:
    import re

    texts = [row[model]["solution"] for row in recorded for model in MODELS]
    for where, made in {"A:": "{}", "boxed": r"\boxed{{1}} \boxed{{{}}}", "tags": "<answer> {}\n</answer>"}.items():
        pattern = re.compile(answer_pattern(where, is_number=False))
        for text in texts[::7] if where == "A:" else ("12", "x + 1"):
            response = made.format(text)
            assert [group.strip() for group in pattern.findall(response)] == [extract_answer(response, where)]
