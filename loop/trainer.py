"""The trainer: TRL's SFTTrainer, full weights or LoRA, in a child process. Import it nowhere else: it brings torch.

`train` makes a round's checkpoint; `converge` makes the student of round 0. Both are the same trainer on rows of
(prompt, response), with the loss on the response alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import set_seed
from trl import SFTConfig, SFTTrainer

from agents.engines import Request, SamplingJob
from agents.engines.transformers import TransformersEngine
from agents.student import student_prompt
from loop.crew import Limits, Report
from loop.errors import StageError
from loop.presets import Architecture, TrainSettings
from loop.verifiers import extract_answer


@dataclass(frozen=True)
class TrainJob:
    """What the trainer is asked to do."""

    start: str
    """Folder or id of the model (or LoRA adapter) to go on from."""
    out: str
    """An empty folder for the checkpoint."""
    rows: tuple[tuple[str, str, int], ...]
    """(prompt, response, copies)."""
    settings: TrainSettings
    weights: str
    """full or lora."""
    seed: int
    epochs: float = 1.0
    tokens: int | None = None
    """Train for this many non-padding tokens instead of `epochs`."""
    limits: Limits = Limits()
    log: str = ""
    """A file that gets a JSON line every few steps."""


@dataclass(frozen=True)
class ConvergeJob:
    """How the student of round 0 is made: trained until its held-out accuracy has stopped rising."""

    train: TrainJob
    architecture: Architecture | None
    """A scratch student's shape; None goes on from `train.start`."""
    held_out: tuple[tuple[str, str], ...]
    """(prompt, response) pairs never trained on; the checkpoint is the one that answers most of them."""
    answer: str
    """Where a response's answer stands."""
    max_new_tokens: int
    evaluate_every: int = 100
    """Steps between two looks at the held-out part."""
    patience: float = 0.5
    """Over when the best look lies this share of the best's steps back (at least 5 looks)."""
    max_steps: int = 20_000


@dataclass(frozen=True)
class Trained:
    """What training came to."""

    parameters: int
    steps: int
    tokens: int
    loss: float | None
    engine_seconds: float
    sampled_tokens: int = 0
    looks: tuple[dict[str, float], ...] = ()
    """Round 0: step, accuracy and loss on the held-out part, at each look."""
    stopped: str = ""
    """The limit that ended training early, or ""."""


class Diverged(StageError):
    """The loss is no number any more."""


def train(job: TrainJob, report: Report) -> Trained:
    """Train on from `job.start` and write the checkpoint to `job.out`."""
    model, tokenizer = load_trainable(job)
    rows = tokenised(tokenizer, job)
    steps = _steps(job, rows)
    watch = _Watch(job, steps, report)
    trainer = SFTTrainer(
        model=model,
        args=_arguments(job, max_steps=steps),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=_lora(job, model),
        callbacks=[watch],
    )
    trainer.train()
    save(trainer.model, tokenizer, Path(job.out))
    return watch.trained(trainer.model)


def converge(job: ConvergeJob, report: Report) -> Trained:
    """Train the student of round 0 to convergence and write its best checkpoint to `job.train.out`.

    The learning rate stays level until the held-out accuracy has found no new best for `patience` of the steps
    that the best took, then falls over as many steps as `settings.decay` of the steps so far. The best look of all
    is kept: the accuracy of greedy answers, ties broken by the lower loss (held-out loss turns earlier).
    """
    train_job = job.train
    if job.architecture is not None:
        from loop.scratch import build_student

        texts = [(prompt, response) for prompt, response, _ in train_job.rows]
        build_student(job.architecture, texts, Path(train_job.out), train_job.seed)
        train_job = replace(train_job, start=train_job.out)
    model, tokenizer = load_trainable(train_job)
    rows = tokenised(tokenizer, train_job)
    watch = _Convergence(job, train_job, model, tokenizer, report)
    trainer = _LevelThenFalling(
        model=model,
        args=_arguments(train_job, max_steps=job.max_steps, level=True),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=_lora(train_job, model),
        callbacks=[watch],
    )
    trainer.level = watch
    watch.student = trainer.model
    trainer.train()
    watch.restore_best()
    save(trainer.model, tokenizer, Path(train_job.out))
    return watch.trained(trainer.model)


def load_trainable(job: TrainJob) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model to train, in full precision on a CPU; an adapter folder goes on as the adapter it is."""
    set_seed(job.seed)
    dtype = torch.bfloat16 if torch.cuda.is_available() and job.weights == "lora" else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(job.start)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if (Path(job.start) / "adapter_config.json").exists():
        return AutoPeftModelForCausalLM.from_pretrained(job.start, dtype=dtype, is_trainable=True), tokenizer
    return AutoModelForCausalLM.from_pretrained(job.start, dtype=dtype), tokenizer


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


def save(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the student so that transformers or PEFT load it as it is."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _steps(job: TrainJob, rows: Dataset) -> int:
    """Optimiser steps for `epochs`, or for `tokens`, rounded up: a control is never trained less."""
    total = sum(rows["length"])
    passes = job.epochs if job.tokens is None else job.tokens / total
    return max(1, math.ceil(passes * len(rows) / job.settings.rows_per_step))


def _lora(job: TrainJob, model: Any) -> LoraConfig | None:
    if job.weights != "lora" or hasattr(model, "peft_config"):
        return None
    return LoraConfig(
        r=job.settings.lora_rank,
        lora_alpha=job.settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _arguments(job: TrainJob, max_steps: int, level: bool = False) -> SFTConfig:
    on_gpu = torch.cuda.is_available()
    settings = job.settings
    warmup = round(settings.warmup * (1_000 if level else max_steps))
    falling = max(1, round(settings.decay * (max_steps - warmup)))
    return SFTConfig(
        output_dir=str(Path(job.out).with_name(".trainer")),
        max_steps=max_steps,
        per_device_train_batch_size=settings.rows_per_step,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if level else "warmup_stable_decay",
        lr_scheduler_kwargs=None
        if level
        else {"num_decay_steps": falling, "decay_type": "linear", "min_lr_ratio": 0.1},
        warmup_steps=warmup,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        dataloader_pin_memory=on_gpu,
        logging_steps=10,
        logging_nan_inf_filter=False,  # with the filter a diverged run reports a clean curve (TRL issue 6702)
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Counts tokens and time, reports, keeps to the limits, and stops at a loss that is no number."""

    def __init__(self, job: TrainJob, steps: int, report: Report) -> None:
        self._job, self._of, self._report = job, steps, report
        self._began = self._step_began = time.monotonic()
        self.engine_seconds = 0.0
        self.tokens = self.steps = 0
        self.loss: float | None = None
        self.stopped = ""
        self._log = Path(job.log).open("a", encoding="utf-8") if job.log else None

    def trained(self, model: Any) -> Trained:
        """The record of what was done."""
        return Trained(
            parameters=sum(p.numel() for p in model.parameters()),
            steps=self.steps,
            tokens=self.tokens,
            loss=self.loss,
            engine_seconds=self.engine_seconds,
            stopped=self.stopped,
        )

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._step_began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.engine_seconds += time.monotonic() - self._step_began
        self.steps = state.global_step
        self.stopped = self._job.limits.spent_by(self.tokens, self._began)
        if self.stopped:
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {state.global_step}; lower the learning rate")
        self.loss = loss
        rate = self.tokens / max(time.monotonic() - self._began, 1e-9)
        self._report(self.steps, self._of, f"{rate:,.0f} tokens/s, loss {loss:.3f}")
        if self._log:
            line = {"step": self.steps, "of": self._of, "loss": loss, "tokens": self.tokens}
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()
