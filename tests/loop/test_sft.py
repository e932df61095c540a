"""Supervised fine-tuning: as plain TRL does it, packed, regularised, stopped early; and it raises a score."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_trainer import ROWS, SETTINGS, SHAPE, quiet
from test_training import a_job, logged

from agents.engines import Request, SamplingJob
from agents.training import SFT
from loop.jobs import TrainJob
from loop.presets import TrainSettings
from loop.records import Score
from loop.statistics import wilson
from loop.train import settings_of
from loop.trained import Trained
from loop.verifiers import extract_answer


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from loop.training.scratch import build_student

    folder = tmp_path_factory.mktemp("student")
    build_student(SHAPE, ROWS, folder, seed=0)
    return folder


def done(job: TrainJob) -> Trained:
    from loop.training.sft import sft

    return sft(job, quiet)


def settings(**changes: object) -> TrainSettings:
    return SETTINGS.model_copy(update=changes)


def test_what_a_plan_chooses_is_what_the_trainer_gets() -> None:
    """What it leaves open is as the student's preset has it, and is not written down."""
    usual = settings(weight_decay=0.1, epochs=5)
    assert settings_of(SFT(epochs=2), usual) == usual
    assert SFT().model_dump().keys() == {"method", "start", "epochs", "learning_rate_scale"}
    chosen: dict[str, Any] = {"packing": True, "weight_decay": 1.3, "dropout": 0.1, "hold_out": 0.2}
    wanted = usual.model_copy(update=chosen | {"learning_rate": 1.5e-3})
    assert settings_of(SFT(epochs=2, learning_rate_scale=0.5, **chosen), usual) == wanted
    assert SFT.model_validate(SFT(**chosen).model_dump()) == SFT(**chosen)
    for beyond in ({"dropout": 0.6}, {"weight_decay": 2.1}, {"hold_out": 0.5}, {"hold_out": 0.0}):
        with pytest.raises(ValueError, match="should be"):
            SFT(**beyond)


def test_the_loss_curve_is_that_of_plain_trl(student: Path, tmp_path: Path) -> None:
    """To the last digit: every logged loss, norm and rate, and the weights."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    job = a_job(student, tmp_path / "ours", epochs=4, settings=settings(weight_decay=0.1, decay=0.8))
    trained = done(job)
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(student)
    rows = []
    for prompt, response in ROWS:
        ask = tokenizer(prompt + "\n", add_special_tokens=False)["input_ids"]
        tell = tokenizer(response, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        rows.append({"input_ids": ask + tell, "labels": [-100] * len(ask) + tell, "length": len(ask + tell)})
    plain = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(student, dtype="float32"),
        args=SFTConfig(
            output_dir=str(tmp_path / "plain"), use_cpu=True, bf16=False, gradient_checkpointing=False, seed=1,
            max_steps=28, per_device_train_batch_size=16, learning_rate=3e-3, weight_decay=0.1, adam_beta2=0.99,
            warmup_steps=3, lr_scheduler_type="warmup_stable_decay",
            lr_scheduler_kwargs={"num_decay_steps": 20, "decay_type": "linear"},
            train_sampling_strategy="group_by_length", length_column_name="length", dataloader_pin_memory=False,
            logging_steps=10, save_strategy="no", report_to="none", disable_tqdm=True,
            max_length=None, dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    plain.train()
    assert trained.steps == 28
    assert logged(job) == {row["step"]: row["loss"] for row in plain.state.log_history if "loss" in row}
    plain.save_model(str(tmp_path / "plain"))
    assert weights(job.out) == weights(tmp_path / "plain")


def weights(folder: str | Path) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def test_rows_in_a_pack_do_not_see_each_other(student: Path) -> None:
    """Each row's loss is that of the row alone; with positions that do not begin anew it is not."""
    import torch
    from trl import pack_dataset
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from loop.training.student import load_trainable, tokenised

    job = TrainJob(str(student), "", tuple((p, r, 1) for p, r in ROWS[:24]), SETTINGS, "full", seed=1)
    model, tokenizer = load_trainable(job)
    rows = tokenised(tokenizer, job)

    def losses(inputs: dict[str, Any], labels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits = model(**inputs, use_cache=False).logits[0, :-1]
        return torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="none")

    alone: dict[tuple[int, ...], float] = {}
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        alone[tuple(row["input_ids"])] = float(losses({"input_ids": ids}, labels).sum())
    packs = pack_dataset(rows.select_columns(["input_ids", "labels"]), 300, "bfd")
    assert 2 <= len(packs) < len(rows) / 2 and sum(map(len, packs["seq_lengths"])) == len(rows)
    collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id, padding_free=True)
    for pack in packs:
        batch = collate([pack])
        mixed = {"input_ids": batch["input_ids"]}
        kept_apart = losses({**mixed, "position_ids": batch["position_ids"]}, batch["labels"])
        seen = losses(mixed, batch["labels"])
        begin, wrong = 0, 0
        for length in pack["seq_lengths"]:
            row = tuple(pack["input_ids"][begin : begin + length])
            assert float(kept_apart[begin : begin + length - 1].sum()) == pytest.approx(alone[row], rel=1e-5)
            wrong += abs(float(seen[begin : begin + length - 1].sum()) - alone[row]) > 1e-3
            begin += length
        assert wrong == len(pack["seq_lengths"]) - 1, "all but the first row of a pack"


def test_a_packed_step_is_the_step_of_its_rows(student: Path, tmp_path: Path) -> None:
    """All rows in one step: the same loss, tokens and weights, in packs or not, and packs are cut for memory."""
    every = settings(rows_per_step=len(ROWS), max_length=2000)
    plain = a_job(student, tmp_path / "plain", epochs=10, settings=every)
    packed = a_job(student, tmp_path / "packed", epochs=10, settings=every.model_copy(update={"packing": True}))
    halved = a_job(student, tmp_path / "halved", epochs=10, settings=packed.settings, rows_at_once=len(ROWS) // 4)
    wanted = done(plain)
    for job in (packed, halved):
        trained = done(job)
        assert (trained.steps, trained.tokens) == (wanted.steps, wanted.tokens) == (10, wanted.tokens)
        assert trained.loss == pytest.approx(wanted.loss, rel=1e-4)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_dropout_changes_the_training_and_nothing_else(student: Path, tmp_path: Path, kind: str) -> None:
    plain = a_job(student, tmp_path / "plain", epochs=2, weights=kind)
    dropped = a_job(student, tmp_path / "dropped", epochs=2, weights=kind, settings=settings(dropout=0.3))
    done(plain)
    done(dropped)
    assert logged(dropped) != logged(plain)
    for name in ("config.json", "adapter_config.json"):
        written = [Path(job.out) / name for job in (plain, dropped)]
        assert [path.exists() for path in written] in ([False] * 2, [True] * 2)
        assert not written[0].exists() or json.loads(written[0].read_text()) == json.loads(written[1].read_text())


def test_training_stops_where_held_out_rows_have_no_more_to_gain(student: Path, tmp_path: Path) -> None:
    """Few rows, many epochs: the look with the lowest loss is kept, and what was looked at was not trained on."""
    from loop.training.looks import Looks, hold_out
    from loop.training.student import load_trainable

    rows = tuple((prompt, response, 1 + (number % 3)) for number, (prompt, response) in enumerate(ROWS[:30]))
    rows += tuple((prompt, response + " ", 1) for prompt, response in ROWS[:30])
    learnt, held = hold_out(rows, 0.2, seed=1)
    assert {prompt for prompt, _, _ in learnt}.isdisjoint(prompt for prompt, _, _ in held)
    assert len({prompt for prompt, _, _ in held}) == 6 and sorted(learnt + held) == sorted(rows)
    assert hold_out(rows, 0.2, seed=1)[1] == held != hold_out(rows, 0.2, seed=2)[1], "other rows each round"
    job = a_job(student, tmp_path / "out", rows=rows, epochs=60, settings=settings(learning_rate=1e-2, hold_out=0.2))
    trained = done(job)
    losses = [look["loss"] for look in trained.looks]
    assert len(losses) < 60 and min(losses) == losses[-3], "two looks after the best it is over"
    assert trained.held_out == len(held) == 12 and trained.kept == trained.looks[-3]["step"] < trained.steps
    saved = replace(job, start=job.out)
    model, tokenizer = load_trainable(saved)
    again = Looks(saved, 1, quiet, tokenizer, held, every=1)
    assert again.held_out_loss(model.eval()) == pytest.approx(min(losses), rel=1e-6)
    control = done(replace(job, tokens=2000, out=str(tmp_path / "control")))
    assert control.held_out == 0 and control.kept is None and control.tokens >= 2000


def test_sft_raises_a_tiny_students_score_on_dev(tmp_path: Path) -> None:
    """From a fixed seed, on problems that are in no row: a student that has seen little, and the same after SFT."""
    from loop.training.scratch import build_student

    luck = random.Random(5)
    numbers = luck.sample(range(100, 100_000), 500)
    problems = [(f"Is {n} odd or even?", f"It ends in {n % 10}.\n#### {('even', 'odd')[n % 2]}") for n in numbers]
    rows, dev = problems[:400], problems[400:]
    (tmp_path / "fresh").mkdir()
    build_student(SHAPE, rows, tmp_path / "fresh", seed=0)
    little = a_job(tmp_path / "fresh", tmp_path / "little", rows=tuple((p, r, 1) for p, r in rows[:24]))
    whole = a_job(tmp_path / "little", tmp_path / "whole", rows=tuple((p, r, 1) for p, r in rows), epochs=8)
    done(little)
    done(whole)
    before, after = score(little.out, dev), score(whole.out, dev)
    assert before.high < 0.5 and after.low > 0.8, f"{before} and {after}"


def score(student: str, problems: Sequence[tuple[str, str]]) -> Score:
    """The share of greedy answers that are right, with its interval."""
    requests = tuple(Request(f"{number:x}", prompt) for number, (prompt, _) in enumerate(problems))
    from agents.engines.transformers import TransformersEngine

    job = SamplingJob(student, requests, temperature=0.0, max_new_tokens=24, seed=0)
    said = {row.key: row.text for batch in TransformersEngine().complete(job) for row in batch}
    right = [
        extract_answer(said[request.key], "####") == extract_answer(answer, "####")
        for request, (_, answer) in zip(requests, problems, strict=True)
    ]
    return wilson(sum(right), len(right))
