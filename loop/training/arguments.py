"""What every trainer is told: batches, schedule, precision, and what is logged."""

from __future__ import annotations

import os
from typing import Any

import torch

from loop.jobs import STEPS, TrainJob
from loop.presets import TrainSettings


def common(job: TrainJob, max_steps: int) -> dict[str, Any]:
    """Arguments of transformers' Trainer that all methods share: the rate warms up, stays, and falls to nothing."""
    on_gpu = torch.cuda.is_available()
    settings = job.settings
    warmup = round(settings.warmup * max_steps)
    falling = max(1, round(settings.decay * (max_steps - warmup)))
    rows, times = batches(settings.rows_per_step, job.rows_at_once, processes())
    return {
        "output_dir": job.out + STEPS,
        "max_steps": max_steps,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": times,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": falling, "decay_type": "linear"},
        "warmup_steps": warmup,
        "weight_decay": settings.weight_decay,
        "adam_beta2": settings.adam_beta2,
        "bf16": in_bfloat16(settings),
        "use_cpu": not on_gpu,
        "gradient_checkpointing": job.recompute,
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": on_gpu,
        # packs have no padding, and of what is no padding TRL would leave out each row's end where it pads with that
        "include_num_input_tokens_seen": "all" if settings.packing else "non_padding",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,  # with the filter a diverged run reports a clean curve (TRL issue 6702)
        "save_strategy": "no",  # the watch says when
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
    }


def in_bfloat16(settings: TrainSettings) -> bool:
    """Whether matrices are multiplied in bfloat16; the weights, and what the optimizer keeps of them, never are."""
    return torch.cuda.is_available() or (settings.bf16_on_cpu and bool(torch.cpu.get_capabilities().get("amx_bf16")))


def processes() -> int:
    """How many processes share this training (see `ranks.py`)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def batches(rows_per_step: int, at_once: int, processes: int) -> tuple[int, int]:
    """Rows that a process takes at once, at most `at_once` (0 is no limit), and how often before an optimizer step.

    Their product over all processes is `rows_per_step`, whatever does not fit; `processes` has to divide it.
    """
    each = rows_per_step // processes
    most = min(each, at_once or each)
    rows = next(rows for rows in range(most, 0, -1) if each % rows == 0)
    return rows, each // rows
