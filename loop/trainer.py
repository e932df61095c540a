"""The trainer: TRL's SFTTrainer, full weights or LoRA, in a child process. Import it nowhere else: it brings torch.

`train` makes a round's checkpoint; `converge` makes the student of round 0. Both are the same trainer on rows of
(prompt, response), with the loss on the response alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
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
from loop.crew import Report
from loop.jobs import ConvergeJob, Diverged, Trained, TrainJob
from loop.verifiers import extract_answer


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

    Training goes in cycles of the very schedule that each later round has. A single falling schedule is not enough:
    a small student that has learnt its demonstrations by heart may begin to generalise only when the rate rises
    again, and a loop of rounds would take the credit. After each cycle the held-out part is answered greedily; when
    `patience` cycles have brought no higher accuracy (nor, while it is 0, a lower loss), the look with the highest
    accuracy is kept, ties broken by the lower loss, which turns earlier.
    """
    train_job = job.train
    if job.architecture is not None:
        from loop.scratch import build_student

        texts = [(prompt, response) for prompt, response, _ in train_job.rows]
        build_student(job.architecture, texts, Path(train_job.out), train_job.seed)
        train_job = replace(train_job, start=train_job.out)
    model, tokenizer = load_trainable(train_job)
    rows = tokenised(tokenizer, train_job)
    watch = _Convergence(job, train_job, tokenizer, report)
    trainer = _Cyclic(
        model=model,
        args=_arguments(train_job, max_steps=job.cycle * job.max_cycles),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=_lora(train_job, model),
        callbacks=[watch],
    )
    trainer.watch = watch
    trainer.train()
    watch.restore_best(trainer.model)
    save(trainer.model, tokenizer, Path(train_job.out))
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


def _lora(job: TrainJob, model: Any) -> LoraConfig | None:
    if job.weights != "lora" or hasattr(model, "peft_config"):
        return None
    return LoraConfig(
        r=job.settings.lora_rank,
        lora_alpha=job.settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _arguments(job: TrainJob, max_steps: int) -> SFTConfig:
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


class _Watch(TrainerCallback):  # type: ignore[misc]
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
        self._step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
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


class _Convergence(_Watch):
    """Looks at the held-out part after every cycle, decides when to stop, and keeps the best."""

    def __init__(
        self, job: ConvergeJob, train_job: TrainJob, tokenizer: PreTrainedTokenizerBase, report: Report
    ) -> None:
        super().__init__(train_job, job.cycle * job.max_cycles, report)
        self._converge, self._tokenizer = job, tokenizer
        self._engine = TransformersEngine()
        self.sampled_tokens = 0
        self.looks: list[dict[str, float]] = []
        self._best: dict[str, torch.Tensor] = {}
        self._waited = 0

    def scale(self, step: int) -> float:
        """The learning rate at a step, as a share of the highest: warm up, stay, fall, and again."""
        cycle, settings = self._converge.cycle, self._job.settings
        at = step % cycle
        warmup = round(settings.warmup * cycle)
        falling = max(1, round(settings.decay * (cycle - warmup)))
        return min(1.0, (at + 1) / (warmup + 1), (cycle - at) / falling)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_step_end(args, state, control, **kwargs)
        if self.steps % self._converge.cycle == 0 or self.stopped:
            self._look(kwargs["model"])
            if self._waited >= self._converge.patience:
                control.should_training_stop = True

    def _look(self, model: Any) -> None:
        model.eval()
        accuracy, loss = self._accuracy(model), self._held_out_loss(model)
        model.train()
        look = {"step": self.steps, "accuracy": accuracy, "loss": loss, "tokens": self.tokens}
        best = max(self.looks, key=_rank, default={"accuracy": -1.0, "loss": math.inf})
        gained = accuracy > best["accuracy"] or (best["accuracy"] == 0.0 and loss < best["loss"])
        self._waited = 0 if gained else self._waited + 1
        if not self.looks or _rank(look) > max(map(_rank, self.looks)):
            self._best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.looks.append(look)
        self.log(look)
        self._report(self.steps, self._of, f"held-out accuracy {accuracy:.2f}, loss {loss:.3f}")

    def _accuracy(self, model: Any) -> float:
        """Share of the held-out prompts whose greedy answer is the demonstration's."""
        held_out = self._converge.held_out
        job = SamplingJob(
            model="",
            requests=tuple(Request(f"{i:x}", prompt) for i, (prompt, _) in enumerate(held_out)),
            temperature=0.0,
            max_new_tokens=self._converge.max_new_tokens,
            seed=0,
        )
        right = 0
        before = self._engine.engine_seconds
        for batch in self._engine.complete_with(model, self._tokenizer, job):
            for row in batch:
                wanted = extract_answer(held_out[int(row.key, 16)][1], self._converge.answer)
                right += wanted is not None and extract_answer(row.text, self._converge.answer) == wanted
                self.sampled_tokens += row.prompt_tokens + row.completion_tokens
        self.engine_seconds += self._engine.engine_seconds - before
        return right / len(held_out)

    def _held_out_loss(self, model: Any) -> float:
        """Mean loss per response token over the held-out part, in nats."""
        rows = tuple((prompt, response, 1) for prompt, response in self._converge.held_out)
        began = time.monotonic()
        total = count = 0.0
        batches = tokenised(self._tokenizer, replace(self._job, rows=rows)).batch(64)
        with torch.inference_mode():
            for batch in batches:
                inputs, labels = _padded(batch["input_ids"], 0), _padded(batch["labels"], -100)
                answered = int((labels[:, 1:] != -100).sum())
                output = model(input_ids=inputs.to(model.device), labels=labels.to(model.device))
                total += float(output.loss) * answered
                count += answered
        self.engine_seconds += time.monotonic() - began
        return total / max(count, 1)

    def restore_best(self, model: Any) -> None:
        """Put the weights of the best look back."""
        model.load_state_dict(self._best)

    def trained(self, model: Any) -> Trained:
        """The record of what was done, with every look."""
        record = super().trained(model)
        return replace(record, looks=tuple(self.looks), sampled_tokens=self.sampled_tokens)


class _Cyclic(SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer with a learning rate in cycles, however many there will be."""

    watch: _Convergence

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of the watch."""
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self.watch.scale)
        return self.lr_scheduler


def _rank(look: dict[str, float]) -> tuple[float, float]:
    return look["accuracy"], -look["loss"]


def _padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *([value] * (longest - len(row)))] for row in rows])
