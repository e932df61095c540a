"""Supervised fine-tuning: TRL's SFTTrainer, full weights or LoRA, with the loss on the response alone.

It makes a round's checkpoint; `convergence.py` makes the student of round 0 with the same trainer.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from loop.crew import Report
from loop.jobs import STEPS, Trained, TrainJob
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
    """TRL's settings: the learning rate warms up, stays, and falls linearly to nothing."""
    on_gpu = torch.cuda.is_available()
    settings = job.settings
    warmup = round(settings.warmup * max_steps)
    falling = max(1, round(settings.decay * (max_steps - warmup)))
    return SFTConfig(
        output_dir=job.out + STEPS,
        max_steps=max_steps,
        per_device_train_batch_size=settings.rows_per_step,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": falling, "decay_type": "linear"},
        warmup_steps=warmup,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        dataloader_pin_memory=on_gpu,
        include_num_input_tokens_seen="non_padding",
        logging_steps=10,
        logging_nan_inf_filter=False,  # with the filter a diverged run reports a clean curve (TRL issue 6702)
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
