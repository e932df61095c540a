"""Training by preference as it is: TRL's DPOTrainer on a student so small that it takes seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agents.engines import Completion, Request, SamplingJob
from agents.training import DPO
from examples.chain_sum.make_demonstrations import demonstrations
from loop.contamination import Exams
from loop.crew import Crew, Limits
from loop.errors import StageError
from loop.gold import corrupted
from loop.jobs import ConvergeJob, PairJob, PreferenceJob, Rewarded, RewardJob, TrainJob
from loop.pairing import pair_up
from loop.presets import Architecture, TrainSettings
from loop.reward import RATE
from loop.statistics import mcnemar
from loop.trained import Trained
from loop.tried import Tried
from loop.verifiers import check_equations, extract_answer

SHAPE = Architecture(hidden=64, layers=2, heads=2, kv_heads=1, head_size=32, mlp=128, positions=256)
SETTINGS = TrainSettings(learning_rate=3e-3, rows_per_step=16, warmup=0.1)
DEMONSTRATIONS = [(str(d["prompt"]), str(d["response"])) for d in demonstrations({2: 100, 3: 700}, seed=3)]
STEPS = 1200
"""Of the student that preference starts from: it then solves a part of the problems."""
SAMPLES = 8
PRACTICE, DEV = 900, 600
"""Problems."""


def quiet(done: float, total: float, rate: str) -> None: ...


@pytest.fixture(scope="module")
def student(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("student")
    rows = tuple((prompt, response, 1) for prompt, response in DEMONSTRATIONS[20:])
    job = ConvergeJob(
        train=TrainJob("", str(out), rows, SETTINGS, "full", seed=0),
        architecture=SHAPE, held_out=tuple(DEMONSTRATIONS[:20]), answer="####", max_new_tokens=40,
        cycle=STEPS, max_cycles=1,
    )  # fmt: skip
    crew.run("loop.training.convergence:converge", job, quiet, "converge")
    return out


@pytest.fixture(scope="module")
def problems() -> list[tuple[str, str]]:
    """Prompts with their answers that no demonstration has."""
    known = {prompt for prompt, _ in DEMONSTRATIONS}
    fresh = [(str(d["prompt"]), str(d["response"])) for d in demonstrations({3: 4000}, seed=77)]
    return [(prompt, answer_of(response)) for prompt, response in fresh if prompt not in known]


def answer_of(response: str) -> str:
    return extract_answer(response, "####") or ""


def draw(model: Path, prompts: Sequence[str], temperature: float, samples: int = 1) -> list[list[Completion]]:
    from agents.engines.transformers import TransformersEngine

    asked = [Request(f"{i * samples + k:x}", prompt) for i, prompt in enumerate(prompts) for k in range(samples)]
    job = SamplingJob(str(model), tuple(asked), temperature=temperature, max_new_tokens=40, seed=5)
    said = {row.key: row for batch in TransformersEngine().complete(job) for row in batch}
    return [[said[f"{i * samples + k:x}"] for k in range(samples)] for i in range(len(prompts))]


def solved(model: Path, problems: Sequence[tuple[str, str]]) -> list[str]:
    said = draw(model, [prompt for prompt, _ in problems], 0.0)
    return [prompt for [row], (prompt, answer) in zip(said, problems, strict=True) if answer_of(row.text) == answer]


@pytest.fixture(scope="module")
def tried(student: Path, problems: list[tuple[str, str]]) -> list[Tried]:
    """Attempts at practice problems, as a run has them: right are those whose answer and working hold."""
    practice = problems[DEV : DEV + PRACTICE]
    found = []
    drawn = draw(student, [prompt for prompt, _ in practice], 1.0, SAMPLES)
    for (prompt, answer), rows in zip(practice, drawn, strict=True):
        for row in rows:
            said = answer_of(row.text)
            if said and row.finish == "stop":
                right = said == answer and check_equations(row.text).verdict == "passed"
                found.append(Tried(f"{prompt} {row.key}", 1, prompt, row.text, said, right))
    return found


def paired(tried: Sequence[Tried]) -> list[tuple[str, str, str]]:
    return [(pair.prompt, pair.chosen, pair.rejected) for pair in pair_up(tried, 2, Exams(()))]


def order(student: Path, out: Path, pairs: Sequence[tuple[str, str, str]], **changes: object) -> PreferenceJob:
    out.mkdir()
    settings = SETTINGS.model_copy(update={"learning_rate": SETTINGS.learning_rate * DPO.rate})
    train = TrainJob(str(student), str(out), (), settings, "full", seed=1, log=f"{out}.jsonl")
    return PreferenceJob(replace(train, **changes), tuple(pairs), beta=0.1, sft=0.0)


def log_of(job: PreferenceJob) -> list[dict[str, float]]:
    """Its lines with a loss; the first of a launch has none."""
    lines = map(json.loads, Path(job.train.log).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "loss" in line]


A_FEW = [(prompt, response, response[:-1] + "0") for prompt, response in DEMONSTRATIONS[:64] if response[-1] != "0"]


def test_preference_raises_the_score(
    crew: Crew, student: Path, problems: list[tuple[str, str]], tried: list[Tried], tmp_path: Path
) -> None:
    """Measured: 270 of 600 problems solved before, 320 after; 105 better, 55 worse."""
    job = order(student, tmp_path / "out", paired(tried), epochs=3)
    faster = SETTINGS.model_copy(update={"learning_rate": SETTINGS.learning_rate * DPO.rate * 3})
    job = replace(job, train=replace(job.train, settings=faster), sft=DPO().sft)
    crew.run("loop.training.dpo:dpo", job, quiet, "dpo")
    dev = problems[:DEV]
    assert {prompt for prompt, _ in dev}.isdisjoint(prompt for prompt, _, _ in job.pairs)
    before, after = solved(student, dev), solved(tmp_path / "out", dev)
    log = log_of(job)
    assert log[-1]["margin"] > log[0]["margin"] and log[-1]["accuracy"] > 0.7
    verdict = mcnemar(after, before)
    assert verdict.keep, verdict


def test_a_reward_model_tells_right_from_wrong_at_problems_it_has_not_seen(
    crew: Crew, student: Path, problems: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Measured: area under the curve 0.999, and 0 parts 99 of 100 right from 98 of 100 wrong ones.

    Wrong is a changed result here. Of the student's own attempts, where a slip is one digit in a running total, a
    judge as small as this learns nothing (0.45 to 0.55), and calibration does not believe it.
    """
    fresh = [(str(d["prompt"]), str(d["response"])) for d in demonstrations({3: 800}, seed=78)]
    known = {prompt for prompt, _ in DEMONSTRATIONS}
    held_out = [(prompt, response) for prompt, response in fresh if prompt not in known]
    pairs = [(prompt, response, corrupted(response)) for prompt, response in DEMONSTRATIONS]
    job = order(student, tmp_path / "judge", pairs, epochs=3)
    slower = SETTINGS.model_copy(update={"learning_rate": SETTINGS.learning_rate * RATE})
    learnt = PairJob(replace(job.train, settings=slower), job.pairs)
    trained: Trained = crew.run("loop.training.reward:reward", learnt, quiet, "reward").result
    texts = [*held_out, *((prompt, corrupted(response)) for prompt, response in held_out)]
    asked = RewardJob(str(tmp_path / "judge"), tuple(texts), SETTINGS)
    said: Rewarded = crew.run("loop.training.reward:score", asked, quiet, "score").result
    right, wrong = said.rewards[: len(held_out)], said.rewards[len(held_out) :]
    auc = sum((r > w) + (r == w) / 2 for r in right for w in wrong) / len(held_out) ** 2
    assert auc > 0.9
    assert sum(r > 0 for r in right) > 0.8 * len(right) and sum(w <= 0 for w in wrong) > 0.8 * len(wrong)
    assert trained.tokens > 0 and said.tokens > 0 and log_of(job)[-1]["accuracy"] > 0.9


def test_check_identical_real_and_generated_texts_give_a_loss_of_log_2(
    crew: Crew, student: Path, tmp_path: Path
) -> None:
    """mechanisms §7.2, SPIN: with the policy as its own opponent, and what is told apart the same."""
    job = order(student, tmp_path / "out", [(prompt, said, said) for prompt, said, _ in A_FEW])
    trained: Trained = crew.run("loop.training.dpo:dpo", job, quiet, "same").result
    assert trained.loss == pytest.approx(math.log(2), abs=1e-6)
    assert [line["margin"] for line in log_of(job)] == [pytest.approx(0.0, abs=1e-6)]


def test_pairs_are_the_tokens_of_supervised_training(student: Path) -> None:
    from transformers import AutoTokenizer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from loop.training.student import tokenised, tokenised_pairs

    tokenizer = AutoTokenizer.from_pretrained(student)
    long = [("Why " * 400, "Because.\n#### 1", "Never.\n#### 2")]
    short = SETTINGS.model_copy(update={"max_length": 34})
    job = PreferenceJob(TrainJob(str(student), "", (), short, "full", seed=1), (*A_FEW, *long), 0.1, 0.0)
    batch = DataCollatorForPreference(tokenizer.pad_token_id, short.max_length)(list(tokenised_pairs(tokenizer, job)))
    texts = [(prompt, chosen, 1) for prompt, chosen, _ in A_FEW] + [(p, rejected, 1) for p, _, rejected in A_FEW]
    supervised = tokenised(tokenizer, replace(job.train, rows=tuple(texts)))
    assert len(supervised) == len(batch["input_ids"]), "the prompt that leaves no room is left out"
    assert max(supervised["length"]) == 34, "some are cut"
    for ids, attended, answered, row in zip(
        batch["input_ids"], batch["attention_mask"], batch["completion_mask"], supervised, strict=True
    ):
        length = int(attended.sum())
        assert ids[:length].tolist() == row["input_ids"]
        assert answered[:length].tolist() == [int(label != -100) for label in row["labels"]]
    with pytest.raises(StageError, match="no prompt of a pair is shorter than 34 tokens"):
        tokenised_pairs(tokenizer, replace(job, pairs=tuple(long)))


def test_both_attempts_are_counted_and_a_limit_or_a_lost_loss_ends_it(
    crew: Crew, student: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from loop.training.student import tokenised

    job = order(student, tmp_path / "whole", A_FEW, epochs=2)
    trained: Trained = crew.run("loop.training.dpo:dpo", job, quiet, "whole").result
    texts = tuple((prompt, text, 1) for prompt, *both in A_FEW for text in both)
    rows = tokenised(AutoTokenizer.from_pretrained(student), replace(job.train, rows=texts))
    assert trained.tokens == 2 * sum(rows["length"])
    assert trained.read_flops == 2.0 * trained.parameters * trained.tokens, "the reference read as much"
    short = order(student, tmp_path / "short", A_FEW, epochs=50, limits=Limits(tokens=2000))
    stopped: Trained = crew.run("loop.training.dpo:dpo", short, quiet, "short").result
    assert stopped.stopped == "tokens" and 2000 <= stopped.tokens < 2000 + 32 * 60
    wild = order(
        student, tmp_path / "wild", A_FEW, epochs=9, settings=SETTINGS.model_copy(update={"learning_rate": 1e30})
    )
    with pytest.raises(StageError, match="lower the learning rate"):
        crew.run("loop.training.dpo:dpo", wild, quiet, "wild")


def test_an_adapter_is_its_own_reference_and_is_gone_on_with(crew: Crew, student: Path, tmp_path: Path) -> None:
    first = order(student, tmp_path / "first", A_FEW, weights="lora")
    one: Trained = crew.run("loop.training.dpo:dpo", first, quiet, "lora").result
    second = order(tmp_path / "first", tmp_path / "second", A_FEW, weights="lora")
    two: Trained = crew.run("loop.training.dpo:dpo", second, quiet, "lora again").result
    assert one.parameters == two.parameters, "the copy that was the reference is gone"
    names = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("first", "second")]
    assert names[0] == names[1] and "adapter_model.safetensors" in names[0]
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] != weights[1]
    assert log_of(second)[0]["loss"] == pytest.approx(math.log(2), abs=0.05), "it starts at itself, not at the base"
