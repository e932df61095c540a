"""Supervised fine-tuning: TRL's SFTTrainer, full weights or LoRA, with the loss on the response alone.

It makes a round's checkpoint; `convergence.py` makes the student of round 0 with the same trainer.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from datasets import Dataset
from trl import SFTConfig, SFTTrainer, pack_dataset

from loop.crew import Report
from loop.jobs import TrainJob
from loop.trained import Trained
from loop.training.arguments import common, processes
from loop.training.looks import Looks, hold_out
from loop.training.student import adapter_of, add_dropout, load_trainable, save, tokenised
from loop.training.watch import Watch


def sft(job: TrainJob, report: Report) -> Trained:
    """Train on from `job.start` and write the checkpoint to `job.out`."""
    model, tokenizer = load_trainable(job)
    settings = job.settings
    share = settings.hold_out if job.tokens is None else 0.0  # a control is trained to its tokens
    learnt, held = hold_out(job.rows, share, job.seed) if share else (job.rows, ())
    batched, rows = _packed(job, tokenised(tokenizer, replace(job, rows=learnt)))
    a_pass = math.ceil(len(rows) / batched.settings.rows_per_step)  # the last step of a pass may have fewer rows
    steps = _steps(job, rows, a_pass)
    watch = Looks(job, steps, report, tokenizer, held, every=a_pass) if held else Watch(job, steps, report)
    trainer = SFTTrainer(
        model=model,
        args=arguments(batched, max_steps=steps),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=adapter_of(job, model),
        callbacks=[watch],
    )
    if settings.dropout:
        add_dropout(trainer.model, settings.dropout)
    watch.train(trainer)
    if isinstance(watch, Looks):
        watch.restore_best(trainer.model)
    save(trainer.model, tokenizer, Path(job.out))
    return watch.trained(trainer.model)


def _packed(job: TrainJob, rows: Dataset) -> tuple[TrainJob, Dataset]:
    """The job counted in packs, about as many rows to a step, and the packs; without packing both as they are.

    A pack holds rows up to `max_length` tokens, or its part of the rows that are taken at once. One pack at once: TRL
    joins those of a batch into one sequence, and without flash attention its mask grows with the square (the tiny
    student on two cores: 8,300 tokens/s in packs of 1,024, 12,000 in packs of 256 and as many without packing).
    """
    if not job.settings.packing:
        return job, rows
    at_once = (job.rows_at_once or job.settings.rows_per_step) / job.settings.rows_per_step
    length = max(*rows["length"], math.ceil(job.settings.max_length * at_once))
    packs = pack_dataset(rows.select_columns(["input_ids", "labels"]), length, "bfd")
    packs = packs.add_column("length", [sum(lengths) for lengths in packs["seq_lengths"]])
    a_step = processes() * max(1, round(job.settings.rows_per_step * len(packs) / len(rows) / processes()))
    return replace(job, rows_at_once=1, settings=job.settings.model_copy(update={"rows_per_step": a_step})), packs


def _steps(job: TrainJob, rows: Dataset, a_pass: int) -> int:
    """Optimiser steps for `epochs`, or for `tokens`, rounded up: a control is not trained less than the loop."""
    passes = job.epochs if job.tokens is None else job.tokens / sum(rows["length"])
    return max(1, math.ceil(passes * a_pass))


def arguments(job: TrainJob, max_steps: int) -> SFTConfig:
    """TRL's settings; rows of about one length stand together, in another order in each pass."""
    return SFTConfig(
        **common(job, max_steps),
        packing=job.settings.packing,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
