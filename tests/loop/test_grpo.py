"""Reinforcement on a student so small that it takes seconds: it learns from rewards, and from nothing else."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.engines import Request, SamplingJob
from agents.training import GRPO
from loop.crew import Crew, Limits, Report
from loop.errors import StageError
from loop.jobs import ConvergeJob, DrillJob, TrainJob
from loop.judging import Judge
from loop.needs import find_gpu
from loop.objective import Demonstration, read_objective
from loop.presets import Architecture, TrainSettings
from loop.records import Problem, Sample
from loop.tasks import Tasks
from loop.trained import Trained

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=128)
SETTINGS = TrainSettings(learning_rate=4e-3, rows_per_step=32, warmup=0.1)
CHOICE = GRPO(group=8, problems_per_step=16)
BOLD = SETTINGS.model_copy(update={"learning_rate": 1e-3})
"""What reinforcement takes: a plan's would be a twentieth of the supervised rate, and this is five."""
WRITTEN = 12
"""Tokens of an answer, at the most."""
OBJECTIVE = """---
student: scratch/tiny
demonstrations: demos.jsonl
tasks:
  practice: [{source: problems.jsonl, verifier: numeric}]
  dev: {from: practice, size: 300}
  test: {from: practice, size: 10}
budget: {rounds: 1}
---
Say the last number of the row.
"""
ROWS = [" ".join(f"{number:03}") for number in range(1000)]
random.Random(7).shuffle(ROWS)
DEMONSTRATED = [
    Demonstration(prompt=row, response=f"#### {row.split()[-(i % 2)]}") for i, row in enumerate(ROWS[:300])
]
"""Three digits each; every other one is answered with the first of them in place of the last."""


def quiet(done: float, total: float, rate: str) -> None: ...


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    folder = tmp_path_factory.mktemp("objective")
    demos = [{"prompt": row.prompt, "response": row.response} for row in DEMONSTRATED]
    problems = [{"prompt": row, "answer": row[-1], "skill": "last"} for row in ROWS[300:]]
    for name, lines in (("demos.jsonl", demos), ("problems.jsonl", problems)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "OBJECTIVE.md").write_text(OBJECTIVE, encoding="utf-8")
    return Tasks(read_objective(folder / "OBJECTIVE.md"), [row.prompt for row in DEMONSTRATED])


@pytest.fixture(scope="module")
def student(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that says the first or the last number, as it was shown."""
    return taught(crew, tmp_path_factory.mktemp("student"), DEMONSTRATED)


def taught(crew: Crew, out: Path, demonstrations: Sequence[Demonstration]) -> Path:
    """A student that has learnt the demonstrations but for the first twenty."""
    shown = [(row.prompt, row.response) for row in demonstrations]
    job = ConvergeJob(
        train=TrainJob("", str(out), tuple((p, r, 1) for p, r in shown[20:]), SETTINGS, "full", seed=0),
        architecture=SHAPE,
        held_out=tuple(shown[:20]),
        answer="####",
        max_new_tokens=WRITTEN,
        cycle=300,
        max_cycles=1,
    )
    crew.run("loop.training.convergence:converge", job, quiet, "converge")
    return out


def drill(start: Path, out: Path, tasks: Tasks, problems: int = 256, answer: str = "", **changes: object) -> DrillJob:
    """A job on practice problems; `answer` is put in the place of every right one."""
    out.mkdir()
    drawn = tasks.draw(next(iter(tasks.practice)), problems, 3, ())
    train = replace(TrainJob(str(start), str(out), (), BOLD, "full", seed=1), **changes)
    wanted = [p.model_copy(update={"answer": answer}) if answer else p for p in drawn]
    return DrillJob(train, CHOICE, tuple(wanted), Judge(tasks, DEMONSTRATED), WRITTEN)


def solved(student: Path, problems: Sequence[Problem], judge: Judge) -> int:
    """How many the student answers rightly, greedily."""
    from agents.engines.transformers import TransformersEngine

    asked = {f"{i:x}": problem for i, problem in enumerate(problems)}
    requests = tuple(Request(key, problem.prompt) for key, problem in asked.items())
    job = SamplingJob(str(student), requests, temperature=0.0, max_new_tokens=WRITTEN, seed=0)
    rows = [row for batch in TransformersEngine().complete(job) for row in batch]
    return sum(
        judge.attempt(
            Sample(
                id=row.key, problem=asked[row.key], response=row.text, finish=row.finish,
                prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens,
            )
        ).correct
        for row in rows
    )  # fmt: skip


def weights(folder: Path, name: str = "model.safetensors") -> bytes:
    return (folder / name).read_bytes()


def test_rewards_raise_the_score_on_dev(crew: Crew, student: Path, tasks: Tasks, tmp_path: Path) -> None:
    """Issue: GRPO raises a tiny student's dev score, from a fixed seed."""
    job = drill(student, tmp_path / "out", tasks, log=str(tmp_path / "log.jsonl"))
    assert {problem.prompt for problem in job.problems}.isdisjoint(problem.prompt for problem in tasks.dev)
    trained: Trained = crew.run("loop.training.grpo:grpo", job, quiet, "grpo").result
    n = len(tasks.dev)
    before, after = (solved(folder, tasks.dev, job.judge) / n for folder in (student, tmp_path / "out"))
    noise = math.sqrt(before * (1 - before) / n + after * (1 - after) / n)
    assert n == 300 and after - before > 4 * noise, f"{before:.3f} to {after:.3f}"
    told = trained.reinforced
    assert told is not None and (told.group, told.problems, told.groups, told.samples) == (8, 256, 256, 2048)
    assert 0 < told.all_right + told.all_wrong < told.groups and told.clipped == 0.0, "one step on each answer"
    assert len(told.rewards) == trained.steps == 16
    assert sum(told.rewards[-4:]) > sum(told.rewards[:4])
    assert trained.tokens == trained.sampled_tokens > 2048 * 6 and trained.read_flops == 0
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["reward"] for line in log if "loss" in line] == pytest.approx(told.rewards, abs=1e-3)
    assert log[-1]["tokens"] == trained.tokens and log[-1]["sampled"] == trained.sampled_tokens


def test_a_reward_that_is_the_same_for_all_teaches_nothing(
    crew: Crew, student: Path, tasks: Tasks, tmp_path: Path
) -> None:
    job = drill(student, tmp_path / "out", tasks, 32, answer="77")
    trained: Trained = crew.run("loop.training.grpo:grpo", job, quiet, "in-vain").result
    told = trained.reinforced
    assert told is not None and told.all_wrong == told.groups == 32 and told.all_right == 0
    assert weights(tmp_path / "out") == weights(student)


def test_several_steps_on_the_same_answers_are_clipped_and_counted(
    crew: Crew, student: Path, tasks: Tasks, tmp_path: Path
) -> None:
    job = drill(student, tmp_path / "out", tasks, 32)
    tight = CHOICE.model_copy(update={"iterations": 3, "beta": 0.04, "epsilon": 0.01, "scale": True})
    job = replace(job, choice=tight)
    trained: Trained = crew.run("loop.training.grpo:grpo", job, quiet, "iterations").result
    assert trained.steps == 6 and trained.reinforced is not None and trained.reinforced.groups == 32
    assert trained.reinforced.clipped > 0.0
    assert (
        trained.tokens == 3 * trained.sampled_tokens
        and trained.read_flops == 4.0 * trained.parameters * trained.sampled_tokens
    )
    assert trained.matched == trained.tokens + trained.sampled_tokens, "a third for each of the three passes"


def test_an_adapter_is_reinforced_and_gone_on_with(crew: Crew, student: Path, tasks: Tasks, tmp_path: Path) -> None:
    first = drill(student, tmp_path / "first", tasks, 32, weights="lora")
    crew.run("loop.training.grpo:grpo", first, quiet, "lora")
    further = drill(tmp_path / "first", tmp_path / "second", tasks, 32, weights="lora")
    further = replace(further, choice=CHOICE.model_copy(update={"beta": 0.1}))
    trained: Trained = crew.run("loop.training.grpo:grpo", further, quiet, "lora-again").result
    name = "adapter_model.safetensors"
    assert weights(tmp_path / "first", name) != weights(tmp_path / "second", name)
    assert not (tmp_path / "second" / "ref").exists(), "the reference's adapter is no part of the student"
    assert trained.read_flops == 2.0 * trained.parameters * trained.sampled_tokens


def test_what_is_cut_off_earns_nothing_and_is_counted(
    crew: Crew, student: Path, tasks: Tasks, tmp_path: Path
) -> None:
    """With room for two tokens every answer is cut off; masked, none of them moves a weight."""
    job = replace(drill(student, tmp_path / "out", tasks, 16), max_new_tokens=2)
    job = replace(job, choice=CHOICE.model_copy(update={"mask_truncated": True}))
    trained: Trained = crew.run("loop.training.grpo:grpo", job, quiet, "cut").result
    told = trained.reinforced
    assert told is not None and told.truncated == told.samples == 128 and told.all_wrong == told.groups
    assert trained.tokens == trained.sampled_tokens, "what is masked has cost as much"
    assert weights(tmp_path / "out") == weights(student)


def test_a_limit_ends_it_and_a_student_that_unlearns_fails_it(
    crew: Crew, student: Path, tasks: Tasks, tmp_path: Path
) -> None:
    short = drill(student, tmp_path / "short", tasks, limits=Limits(tokens=3000))
    trained: Trained = crew.run("loop.training.grpo:grpo", short, quiet, "short").result
    assert trained.stopped == "tokens" and 3000 <= trained.tokens + trained.sampled_tokens < 3000 + 2 * 128 * 18
    for rate, words in ((1e30, "no answer is right any more"), (1e10, "the student's probabilities are no numbers")):
        wild = SETTINGS.model_copy(update={"learning_rate": rate})
        job = drill(student, tmp_path / f"{rate}", tasks, settings=wild)
        with pytest.raises(StageError, match=f"{words}.* lower the learning rate"):
            crew.run("loop.training.grpo:grpo", job, quiet, "wild")


def look(job: DrillJob, report: Report) -> dict[str, Any]:
    """In a child, since the trainers set up torch for training: what the student reads, and what TRL is told."""
    from transformers import AutoTokenizer

    from loop.training.grpo import _Reinforcing, arguments
    from loop.training.student import tokenised

    tokenizer = AutoTokenizer.from_pretrained(job.train.start)
    prompts = [problem.prompt for problem in job.problems]
    trainer = _Reinforcing.__new__(_Reinforcing)
    trainer.processing_class = tokenizer
    read = []
    for template in (None, "{{ '<s>' }}{% for turn in messages %}[{{ turn['content'] }}]{% endfor %}"):
        tokenizer.chat_template = template
        rows = tokenised(tokenizer, replace(job.train, rows=tuple((prompt, "#### 1", 1) for prompt in prompts)))
        ids, _, _ = trainer._tokenize_prompts(prompts)
        read += [
            (mine, row["input_ids"][: row["labels"].count(-100)], row["input_ids"][-1] == tokenizer.eos_token_id)
            for mine, row in zip(ids, rows, strict=True)
        ]
    few = replace(job, problems=job.problems[:3])
    names = (
        "use_vllm", "vllm_mode", "vllm_max_model_length", "max_completion_length", "generation_batch_size",
        "per_device_train_batch_size", "epsilon", "epsilon_high", "beta", "loss_type", "max_steps",
    )  # fmt: skip
    settings = [{name: getattr(made, name) for name in names} for made in (arguments(job, 112), arguments(few, 112))]
    return {"read": read, "settings": settings}


@pytest.fixture(scope="module")
def looked(crew: Crew, student: Path, tasks: Tasks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    job = replace(drill(student, tmp_path_factory.mktemp("looked") / "out", tasks), vllm=True)
    found: dict[str, Any] = crew.run(f"{__name__}:look", job, quiet, "look").result
    return found


def test_the_student_reads_what_it_reads_in_supervised_training(looked: dict[str, Any]) -> None:
    """The very token ids, with a chat template and without, where TRL alone would add special tokens."""
    assert len(looked["read"]) == 512 and len({tuple(mine) for mine, _, _ in looked["read"]}) == 512
    assert all(mine == taught and ends for mine, taught, ends in looked["read"])


def test_vllm_answers_beside_the_trainer_where_there_is_a_gpu(looked: dict[str, Any]) -> None:
    """No vllm is started here: these are the settings that TRL takes, and what it makes of them."""
    whole, few = looked["settings"]
    assert whole["use_vllm"] is (find_gpu() is not None) and whole["vllm_mode"] == "colocate"
    assert whole["vllm_max_model_length"] == 112 and whole["max_completion_length"] == WRITTEN
    assert (whole["generation_batch_size"], whole["per_device_train_batch_size"], whole["max_steps"]) == (128, 32, 16)
    assert (whole["epsilon"], whole["epsilon_high"], whole["beta"], whole["loss_type"]) == (0.2, 0.28, 0.0, "dapo")
    assert few["generation_batch_size"] == 24 and few["max_steps"] == 1, "fewer problems than a step has"
