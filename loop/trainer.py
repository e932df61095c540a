"""The trainer: TRL's SFTTrainer, full weights or LoRA, in a child process. Import it nowhere else: it brings torch.

`train` makes a round's checkpoint; `convergence.py` makes the student of round 0 with the same trainer: on rows of
(prompt, response), with the loss on the response alone.
"""

from __future__ import annotations

import json
import math
import time
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

from agents.student import student_prompt
from loop.crew import Report
from loop.jobs import ConvergeJob, Diverged, Trained, TrainJob


def train(job: TrainJob, report: Report) -> Trained:
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
    trainer.train()
    save(trainer.model, tokenizer, Path(job.out))
    return watch.trained(trainer.model)


def adopt(job: ConvergeJob, report: Report) -> Trained:
    """Take a pretrained student as it is: without demonstrations there is nothing to converge on."""
    report(0, 1, "loading")
    model, tokenizer = load_trainable(job.train)
    save(model, tokenizer, Path(job.train.out))
    return Trained(model.num_parameters(), steps=0, tokens=0, loss=None, engine_seconds=0.0)


ONE_THREAD = 1_000_000
"""Parameters below which one thread trains faster than two: 15,300 tokens/s against 11,000 for the tiny student, its
matrices are too small to share (two cores with other work on them)."""

# A student that fits its rows has gradients so small that a CPU takes ten times as long over them.
torch.set_flush_denormal(True)


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


def save(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the student so that transformers or PEFT load it as it is."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _steps(job: TrainJob, rows: Dataset) -> int:
    """Optimiser steps for `epochs`, or for `tokens`, rounded up: a control is not trained less than the loop."""
    passes = job.epochs if job.tokens is None else job.tokens / sum(rows["length"])
    a_pass = math.ceil(len(rows) / job.settings.rows_per_step)  # the last step of a pass may have fewer rows
    return max(1, math.ceil(passes * a_pass))


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


def arguments(job: TrainJob, max_steps: int) -> SFTConfig:
    """TRL's settings: the learning rate warms up, stays, and falls linearly to nothing."""
    on_gpu = torch.cuda.is_available()
    settings = job.settings
    warmup = round(settings.warmup * max_steps)
    falling = max(1, round(settings.decay * (max_steps - warmup)))
    return SFTConfig(
        output_dir=str(Path(job.out).with_name(".trainer")),
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


class Watch(TrainerCallback):  # type: ignore[misc]
    """Counts tokens and time, reports, keeps to the limits, and stops at a loss that is no number."""

    def __init__(self, job: TrainJob, steps: int, report: Report) -> None:
        self._job, self._of, self._report = job, steps, report
        self._began = self._step_began = time.monotonic()
        self.engine_seconds = 0.0
        self.tokens = self.steps = 0
        self.loss: float | None = None
        self.stopped = ""
        self._log = Path(job.log) if job.log else None

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
        """The clock of the engine starts."""
        self._step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The clock stops; a limit that is reached ends training."""
        self.engine_seconds += time.monotonic() - self._step_began
        self.steps, self.tokens = state.global_step, int(state.num_input_tokens_seen)
        self.stopped = self._job.limits.spent_by(self.tokens, self._began)
        if self.stopped:
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **_: Any,
    ) -> None:
        """Report and log the loss; one that is no number ends training."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {state.global_step}; lower the learning rate")
        self.loss = loss
        rate = self.tokens / max(time.monotonic() - self._began, 1e-9)
        self._report(self.steps, self._of, f"{rate:,.0f} tokens/s, loss {loss:.3f}")
        self.log({"step": self.steps, "of": self._of, "loss": loss, "tokens": self.tokens})

    def log(self, line: dict[str, float]) -> None:
        """Add a line to the job's log."""
        if self._log:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
