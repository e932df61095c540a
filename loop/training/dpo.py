"""Preference: TRL's DPOTrainer on right against wrong attempts, full weights or LoRA.

The reference is the student as it was: a frozen copy; for an adapter, the model without it, or a copy of one that is
gone on with. Import it only in a child process: it brings torch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from loop.crew import Report
from loop.jobs import PreferenceJob
from loop.trained import Trained
from loop.training.arguments import common
from loop.training.student import adapter_of, load_trainable, save, tokenised_pairs
from loop.training.watch import Watch


def dpo(job: PreferenceJob, report: Report) -> Trained:
    """Train on from `job.train.start` and write the checkpoint to `job.train.out`.

    Raises: StageError when the prompt of every pair fills `max_length`.
    """
    model, tokenizer = load_trainable(job.train)
    pairs = tokenised_pairs(tokenizer, job)
    steps = max(1, math.ceil(job.train.epochs * math.ceil(len(pairs) / job.train.settings.rows_per_step)))
    watch = _Preference(job.train, steps, report, whole=job)
    trainer = _Tokenised(
        model=model,
        args=DPOConfig(
            **common(job.train, steps) | {"logging_steps": min(10, steps)},
            beta=job.beta,
            loss_type=["sigmoid", "sft"] if job.sft else ["sigmoid"],
            loss_weights=[1.0, job.sft] if job.sft else None,
            max_length=job.train.settings.max_length,
        ),
        train_dataset=pairs,
        processing_class=tokenizer,
        peft_config=adapter_of(job.train, model),
        callbacks=[watch],
    )
    watch.train(trainer)
    if "ref" in getattr(trainer.model, "peft_config", {}):
        trainer.model.delete_adapter("ref")
    save(trainer.model, tokenizer, Path(job.train.out))
    trained = watch.trained(trainer.model)
    return replace(trained, read_flops=2.0 * trained.parameters * trained.tokens)


class _Tokenised(DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer for pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class _Preference(Watch):
    """Its log tells, beside the loss, how far and how often the chosen response is ahead of the rejected one."""

    shown: ClassVar = {"rewards/margins": "margin", "rewards/accuracies": "accuracy"}
