"""A critic that is trained: TRL's RewardTrainer on right against wrong attempts, and what it makes of others.

Import it only in a child process: it brings torch.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from peft import AutoPeftModelForSequenceClassification, LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import set_seed
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import suppress_seqcls_warning

from loop.crew import Report
from loop.jobs import PairJob, Rewarded, RewardJob, TrainJob
from loop.trained import Trained
from loop.training.arguments import common
from loop.training.student import ONE_THREAD, save, tokenised, tokenised_pairs
from loop.training.watch import Watch

CENTRED = 0.01
"""Weight of the square of a pair's summed rewards, so that 0 parts right from wrong (arXiv 2312.09244)."""
BATCH = 32
"""Texts that are read at once."""


def reward(job: PairJob, report: Report) -> Trained:
    """Train a model with one number as its output on from `job.train.start`, and write it to `job.train.out`.

    Of a LoRA student it takes the base model, and trains an adapter and the output layer on it.

    Raises: StageError when the prompt of every pair fills `max_length`.
    """
    train = job.train
    set_seed(train.seed)
    model, tokenizer = _fresh(train)
    pairs = tokenised_pairs(tokenizer, job)
    whole = Dataset.from_list([_whole(pair) for pair in pairs])
    steps = max(1, math.ceil(train.epochs * math.ceil(len(whole) / train.settings.rows_per_step)))
    watch = _Learning(train, steps, report, whole=job)
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            **common(train, steps) | {"logging_steps": min(10, steps)},
            center_rewards_coefficient=CENTRED,
            max_length=None,
        ),
        train_dataset=whole,
        processing_class=tokenizer,
        peft_config=_adapter(train),
        callbacks=[watch],
    )
    watch.train(trainer)
    save(trainer.model, tokenizer, Path(train.out))
    return watch.trained(trainer.model)


def score(job: RewardJob, report: Report) -> Rewarded:
    """The reward of each (prompt, response) by the model in `job.model`; above 0: more likely right than wrong."""
    kind: Any = AutoModelForSequenceClassification
    if (Path(job.model) / "adapter_config.json").exists():
        kind = AutoPeftModelForSequenceClassification
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = kind.from_pretrained(job.model, num_labels=1, dtype=torch.float32).eval()
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    if model.num_parameters() < ONE_THREAD:
        torch.set_num_threads(1)
    train = TrainJob("", "", tuple((*text, 1) for text in job.texts), job.settings, "full", seed=0)
    rows: Sequence[list[int]] = tokenised(tokenizer, train)["input_ids"]
    rewards: dict[int, float] = {}
    began = time.monotonic()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        longest = len(rows[batch[-1]])
        padded = [rows[i] + [tokenizer.pad_token_id] * (longest - len(rows[i])) for i in batch]
        attended = [[1] * len(rows[i]) + [0] * (longest - len(rows[i])) for i in batch]
        with torch.inference_mode():
            given = model(
                input_ids=torch.tensor(padded, device=model.device),
                attention_mask=torch.tensor(attended, device=model.device),
            ).logits
        rewards.update(zip(batch, given[:, 0].tolist(), strict=True))
        report(len(rewards), len(rows), "judging")
    tokens = sum(map(len, rows))
    given_in_order = tuple(rewards[i] for i in range(len(rows)))
    return Rewarded(given_in_order, tokens, model.num_parameters(), time.monotonic() - began)


def _fresh(job: TrainJob) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    adapter = Path(job.start) / "adapter_config.json"
    base = (
        json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"] if adapter.exists() else job.start
    )
    tokenizer = AutoTokenizer.from_pretrained(job.start)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    with suppress_seqcls_warning():
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    if model.num_parameters() < ONE_THREAD:
        torch.set_num_threads(1)
    return model, tokenizer


def _adapter(job: TrainJob) -> LoraConfig | None:
    if job.weights != "lora":
        return None
    rank, alpha = job.settings.lora_rank, job.settings.lora_alpha
    return LoraConfig(
        r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"]
    )


def _whole(row: dict[str, list[int]]) -> dict[str, list[int]]:
    return {side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")}


class _Learning(Watch):
    """Its log tells, beside the loss, how far and how often the chosen response is ahead of the rejected one."""

    shown: ClassVar = {"margin": "margin", "accuracy": "accuracy"}
