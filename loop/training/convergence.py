"""Round 0: the student trained on the demonstrations until it has nothing more to gain from them.

Import it only in a child process: it brings torch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer

from loop.crew import Report
from loop.jobs import ConvergeJob, TrainJob
from loop.trained import Trained
from loop.training.looks import Looks, greedy_accuracy
from loop.training.sft import arguments
from loop.training.student import adapter_of, load_trainable, save, tokenised


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
        from loop.training.scratch import build_student

        texts = [(prompt, response) for prompt, response, _ in train_job.rows]
        build_student(job.architecture, texts, Path(train_job.out), train_job.seed)
        train_job = replace(train_job, start=train_job.out)
    model, tokenizer = load_trainable(train_job)
    rows = tokenised(tokenizer, train_job)
    watch = _Convergence(job, train_job, tokenizer, report)
    trainer = _Cyclic(
        model=model,
        args=arguments(train_job, max_steps=job.cycle * job.max_cycles),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=adapter_of(train_job, model),
        callbacks=[watch],
    )
    trainer.watch = watch
    watch.train(trainer)
    watch.restore_best(trainer.model)
    save(trainer.model, tokenizer, Path(train_job.out))
    return watch.trained(trainer.model)


class _Convergence(Looks):
    """Looks at the held-out part after every cycle, decides when to stop, and keeps the best."""

    def __init__(
        self, job: ConvergeJob, train_job: TrainJob, tokenizer: PreTrainedTokenizerBase, report: Report
    ) -> None:
        rows = tuple((prompt, response, 1) for prompt, response in job.held_out)
        steps = job.cycle * job.max_cycles
        super().__init__(train_job, steps, report, tokenizer, rows, job.cycle, job.patience, whole=job)
        self._converge = job

    def scale(self, step: int) -> float:
        """The learning rate at a step, as a share of the highest: warm up, stay, fall, and again."""
        cycle, settings = self._converge.cycle, self._job.settings
        at = step % cycle
        warmup = round(settings.warmup * cycle)
        falling = max(1, round(settings.decay * (cycle - warmup)))
        return min(1.0, (at + 1) / (warmup + 1), (cycle - at) / falling)

    def measure(self, model: Any) -> dict[str, float]:
        """The share of greedy answers that are right, and the loss."""
        return {"accuracy": self._accuracy(model), "loss": self.held_out_loss(model)}

    def rank(self, look: dict[str, float]) -> tuple[float, ...]:
        """By accuracy; ties are broken by the lower loss."""
        return look["accuracy"], -look["loss"]

    def gained(self, look: dict[str, float]) -> bool:
        """A higher accuracy; a lower loss only while no answer is right."""
        best = max(self.looks, key=self.rank, default={"accuracy": -1.0, "loss": math.inf})
        return look["accuracy"] > best["accuracy"] or (best["accuracy"] == 0.0 and look["loss"] < best["loss"])

    def _accuracy(self, model: Any) -> float:
        """Share of the held-out prompts whose greedy answer is the demonstration's."""
        job = self._converge
        share, tokens, seconds = greedy_accuracy(model, self._tokenizer, job.held_out, job.answer, job.max_new_tokens)
        self.sampled_tokens += tokens
        self.engine_seconds += seconds
        return share


class _Cyclic(SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer with a learning rate in cycles, however many there will be."""

    watch: _Convergence

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of the watch."""
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self.watch.scale)
        return self.lr_scheduler
