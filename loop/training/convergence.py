"""Round 0: the student trained on the demonstrations until it has nothing more to gain from them.

Import it only in a child process: it brings torch.
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
from transformers import PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer

from agents.engines import Request, SamplingJob
from agents.engines.transformers import TransformersEngine
from loop.crew import Report
from loop.jobs import ConvergeJob, Trained, TrainJob
from loop.training.sft import arguments
from loop.training.student import adapter_of, load_trainable, save, tokenised
from loop.training.watch import Watch
from loop.verifiers import extract_answer


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


class _Convergence(Watch):
    """Looks at the held-out part after every cycle, decides when to stop, and keeps the best."""

    def __init__(
        self, job: ConvergeJob, train_job: TrainJob, tokenizer: PreTrainedTokenizerBase, report: Report
    ) -> None:
        super().__init__(train_job, job.cycle * job.max_cycles, report, whole=job)
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

    def keep(self, folder: Path) -> None:
        """Also the looks so far, and the weights of the best."""
        super().keep(folder)
        looked = {"looks": self.looks, "_waited": self._waited, "sampled_tokens": self.sampled_tokens}
        (folder / "looks.json").write_text(json.dumps(looked), encoding="utf-8")
        torch.save(self._best, folder / "best.pth")

    def restore(self, folder: Path) -> None:
        """Take these up too."""
        super().restore(folder)
        for name, value in json.loads((folder / "looks.json").read_text(encoding="utf-8")).items():
            setattr(self, name, value)
        self._best = torch.load(folder / "best.pth", weights_only=True)

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
