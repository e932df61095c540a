"""The student as a trainer has it: loaded to be trained, its rows as tokens, and saved. It brings torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import set_seed

from agents.student import student_prompt
from loop.crew import Report
from loop.errors import StageError
from loop.jobs import ConvergeJob, PairJob, Trained, TrainJob

ONE_THREAD = 1_000_000
"""Parameters below which one thread trains faster than two: 15,300 tokens/s against 11,000 for the tiny student, its
matrices are too small to share (two cores with other work on them)."""


def load_trainable(job: TrainJob) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model to train, in full precision on a CPU; an adapter folder goes on as the adapter it is."""
    set_seed(job.seed)
    dtype = torch.bfloat16 if torch.cuda.is_available() and job.weights == "lora" else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(job.start)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if (Path(job.start) / "adapter_config.json").exists():
        return AutoPeftModelForCausalLM.from_pretrained(job.start, dtype=dtype, is_trainable=True), tokenizer
    model = AutoModelForCausalLM.from_pretrained(job.start, dtype=dtype)
    if model.num_parameters() < ONE_THREAD:
        torch.set_num_threads(1)
    return model, tokenizer


def tokenised(tokenizer: PreTrainedTokenizerBase, job: TrainJob) -> Dataset:
    """Rows of input_ids and labels; the prompt's labels are -100, so the loss is on the response and its end."""
    prompts = [student_prompt(tokenizer, prompt) for prompt, _, _ in job.rows]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    response_ids = tokenizer([response for _, response, _ in job.rows], add_special_tokens=False)["input_ids"]
    inputs, labels = [], []
    for (_, _, copies), ask, tell in zip(job.rows, prompt_ids, response_ids, strict=True):
        whole = (ask + tell + [tokenizer.eos_token_id])[: job.settings.max_length]
        inputs += [whole] * copies
        labels += [([-100] * len(ask) + whole[len(ask) :])[: len(whole)]] * copies
    return Dataset.from_dict({"input_ids": inputs, "labels": labels, "length": [len(ids) for ids in inputs]})


def tokenised_pairs(tokenizer: PreTrainedTokenizerBase, job: PairJob) -> Dataset:
    """Rows of prompt_ids, chosen_ids and rejected_ids: the very tokens that supervised training has for these texts.

    A pair whose prompt leaves no room for a response is left out.

    Raises: StageError when none is left.
    """
    sides = [
        tokenised(tokenizer, replace(job.train, rows=tuple((pair[0], pair[side], 1) for pair in job.pairs)))
        for side in (1, 2)
    ]
    rows = []
    for chosen, rejected in zip(*sides, strict=True):
        asked = sum(label == -100 for label in chosen["labels"])
        if asked < job.train.settings.max_length:
            whole = chosen["input_ids"]
            answers = {"chosen_ids": whole[asked:], "rejected_ids": rejected["input_ids"][asked:]}
            rows.append({"prompt_ids": whole[:asked], **answers})
    if not rows:
        raise StageError(f"no prompt of a pair is shorter than {job.train.settings.max_length} tokens")
    return Dataset.from_list(rows)


def adapter_of(job: TrainJob, model: Any) -> LoraConfig | None:
    """The fresh adapter to train; None for full weights, or where the model has one already."""
    if job.weights != "lora" or hasattr(model, "peft_config"):
        return None
    return LoraConfig(
        r=job.settings.lora_rank,
        lora_alpha=job.settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def save(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the student so that transformers or PEFT load it as it is."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def settings_of(job: TrainJob, max_steps: int) -> dict[str, Any]:
    """What all of TRL's trainers are told: the learning rate warms up, stays, and falls linearly to nothing."""
    on_gpu = torch.cuda.is_available()
    settings = job.settings
    warmup = round(settings.warmup * max_steps)
    falling = max(1, round(settings.decay * (max_steps - warmup)))
    return {
        "output_dir": str(Path(job.out).with_name(".trainer")),
        "max_steps": max_steps,
        "per_device_train_batch_size": settings.rows_per_step,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": falling, "decay_type": "linear"},
        "warmup_steps": warmup,
        "weight_decay": settings.weight_decay,
        "adam_beta2": settings.adam_beta2,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": on_gpu,
        "include_num_input_tokens_seen": "non_padding",
        "logging_steps": 10,
        "logging_nan_inf_filter": False,  # with the filter a diverged run reports a clean curve (TRL issue 6702)
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
    }


def adopt(job: ConvergeJob, report: Report) -> Trained:
    """Take a pretrained student as it is: without demonstrations there is nothing to converge on."""
    report(0, 1, "loading")
    model, tokenizer = load_trainable(job.train)
    save(model, tokenizer, Path(job.train.out))
    return Trained(model.num_parameters(), steps=0, tokens=0, loss=None, engine_seconds=0.0)
