"""Supervised fine-tuning: TRL's SFTTrainer, full weights or LoRA, with the loss on the response alone.

It makes a round's checkpoint; `convergence.py` makes the student of round 0 with the same trainer.
"""

from __future__ import annotations

import math
from pathlib import Path

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from loop.crew import Report
from loop.jobs import Trained, TrainJob
from loop.training.arguments import common
from loop.training.student import adapter_of, load_trainable, save, tokenised
from loop.training.watch import Watch


def sft(job: TrainJob, report: Report) -> Trained:
    """Train on from `job.start` and write the checkpoint to `job.out`."""
    model, tokenizer = load_trainable(job)
    rows = tokenised(tokenizer, job)
    steps = _steps(job, rows)
    watch = Watch(job, steps, report)
    trainer = SFTTrainer(
        model=model,
        args=arguments(job, max_steps=steps),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=adapter_of(job, model),
        callbacks=[watch],
    )
    watch.train(trainer)
    save(trainer.model, tokenizer, Path(job.out))
    return watch.trained(trainer.model)


def _steps(job: TrainJob, rows: Dataset) -> int:
    """Optimiser steps for `epochs`, or for `tokens`, rounded up: a control is not trained less than the loop."""
    passes = job.epochs if job.tokens is None else job.tokens / sum(rows["length"])
    a_pass = math.ceil(len(rows) / job.settings.rows_per_step)  # the last step of a pass may have fewer rows
    return max(1, math.ceil(passes * a_pass))


def arguments(job: TrainJob, max_steps: int) -> SFTConfig:
    """TRL's settings; rows of about one length stand together, in another order in each pass."""
    return SFTConfig(
        **common(job, max_steps),
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
